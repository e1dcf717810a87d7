//! The host's time zone.

/// A time of day in the host's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// 0 is January.
    pub month0: usize,
    /// 1 to 31.
    pub day: i32,
    /// 0 to 23.
    pub hour: i32,
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 60.
    pub second: i32,
}

/// Reads a Unix time as the host's time zone has it; the zone's rules are read once per process.
#[must_use]
pub fn local(seconds: i64) -> LocalTime {
    let mut broken = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to valid memory of this frame for the call, and an all-zero `tm` is
    // a value of the type, which stays if the call fails.
    let broken = unsafe {
        libc::localtime_r(&raw const seconds, broken.as_mut_ptr());
        broken.assume_init()
    };
    LocalTime {
        month0: usize::try_from(broken.tm_mon).unwrap_or(0),
        day: broken.tm_mday,
        hour: broken.tm_hour,
        minute: broken.tm_min,
        second: broken.tm_sec,
    }
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn seconds_do_not_depend_on_the_zone() {
        let time = local(1_700_000_000);
        assert_eq!((time.month0, time.second), (10, 20));
    }
}
