//! Ids and secrets in Docker's manner: numbers in base 36, digits and small letters.

/// Digits of an id, of which 128 bits need no more.
pub(crate) const ID_DIGITS: usize = 25;

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Makes an id that nobody else has: 128 random bits, 25 digits.
pub(crate) fn random_id() -> String {
    base36(&rand::random::<[u8; 16]>(), ID_DIGITS)
}

/// Writes a big-endian number in base 36, with zeros in front up to `width` digits.
pub(crate) fn base36(number: &[u8], width: usize) -> String {
    let mut number = number.to_vec();
    let mut digits = Vec::new();
    while number.iter().any(|byte| *byte != 0) {
        let mut rest = 0_u16;
        for byte in &mut number {
            let value = (rest << 8) | u16::from(*byte);
            // Below 256, as the remainder is below 36.
            *byte = u8::try_from(value / 36).expect("a digit of a division by 36 fits a byte");
            rest = value % 36;
        }
        digits.push(DIGITS[usize::from(rest)]);
    }
    digits.resize(digits.len().max(width), b'0');
    digits.reverse();
    digits.into_iter().map(char::from).collect()
}

/// Whether all of a text are digits of base 36, `width` of them.
pub(crate) fn is_base36(text: &str, width: usize) -> bool {
    text.len() == width && text.bytes().all(|byte| DIGITS.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_base_36() {
        for (number, expected) in [
            (&[][..], "000"),
            (&[0, 35], "00z"),
            (&[0, 36], "010"),
            (&[1, 0, 0], "1ekg"),
            (&[255; 16], "f5lxx1zz5pnorynqglhzmsp33"),
        ] {
            assert_eq!(base36(number, 3), expected);
        }
        let id = random_id();
        assert!(is_base36(&id, ID_DIGITS), "{id}");
        assert_ne!(id, random_id());
    }
}
