//! Strings and times as Docker's json-file driver writes them.

/// Appends `text` as a JSON string that is safe in HTML: `<`, `>`, `&` and the line separators
/// are escaped, and bytes that are no UTF-8 become U+FFFD.
pub(super) fn write_string(text: &[u8], output: &mut Vec<u8>) {
    output.push(b'"');
    for chunk in text.utf8_chunks() {
        write_valid(chunk.valid(), output);
        for _ in chunk.invalid() {
            output.extend_from_slice(b"\\ufffd");
        }
    }
    output.push(b'"');
}

fn write_valid(text: &str, output: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut start = 0;
    let mut position = 0;
    while position < bytes.len() {
        let byte = bytes[position];
        let separator = byte == 0xe2
            && bytes.get(position + 1) == Some(&0x80)
            && matches!(bytes.get(position + 2), Some(0xa8 | 0xa9));
        let is_plain = byte >= 0x20 && !matches!(byte, b'\\' | b'"' | b'<' | b'>' | b'&');
        if is_plain && !separator {
            position += 1;
            continue;
        }
        output.extend_from_slice(&bytes[start..position]);
        if separator {
            let last = bytes[position + 2];
            output.extend_from_slice(if last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
            position += 3;
        } else {
            write_escape(byte, output);
            position += 1;
        }
        start = position;
    }
    output.extend_from_slice(&bytes[start..]);
}

fn write_escape(byte: u8, output: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'\\' | b'"' => output.extend_from_slice(&[b'\\', byte]),
        b'\n' => output.extend_from_slice(b"\\n"),
        b'\r' => output.extend_from_slice(b"\\r"),
        _ => {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            output.extend_from_slice(b"\\u00");
            output.extend_from_slice(&digits);
        }
    }
}

/// Appends a Unix time in nanoseconds as RFC 3339 in UTC, without trailing zeroes.
pub(in crate::shim) fn write_time(time_ns: i64, output: &mut Vec<u8>) {
    let start = output.len();
    write_time_to(time_ns, 9, output);
    // No fraction has no point either.
    output.pop();
    while output.len() > start && output.last() == Some(&b'0') {
        output.pop();
    }
    if output.last() == Some(&b'.') {
        output.pop();
    }
    output.push(b'Z');
}

/// The same with as many digits of the fraction as told, 0 to 9.
pub(in crate::shim) fn write_time_to(time_ns: i64, digits: usize, output: &mut Vec<u8>) {
    use std::io::Write;
    let seconds = time_ns.div_euclid(1_000_000_000);
    let nanoseconds = time_ns.rem_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    // Writing to a Vec cannot fail.
    let _ = write!(output, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if digits > 0 {
        let fraction = format!("{nanoseconds:09}");
        let _ = write!(output, ".{}", &fraction[..digits.min(fraction.len())]);
    }
    output.push(b'Z');
}

/// Year, month and day of a day counted from 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March, so that the leap day is the last; 719,468 days lead to 0000-03-01.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
