//! New names for tasks.

use mesos_api::v1::TaskId;

/// Makes a name that no other task has: a random UUID.
pub fn random_task_id() -> TaskId {
    let mut bytes: [u8; 16] = rand::random();
    // The two marks of a random UUID, RFC 9562 section 5.4.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (position, byte) in bytes.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    TaskId::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_are_uuids_and_differ() {
        let (one, other) = (random_task_id(), random_task_id());
        assert_ne!(one, other);
        let groups: Vec<usize> = one.value.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert_eq!(one.value.as_bytes()[14], b'4');
    }
}
