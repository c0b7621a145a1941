//! A point on the wall clock, as a value: pure code takes it as an argument and never asks the system for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(i64);

/// Reads a duration such as `90s`, `5m`, `24h`, `7d` or `500ms`, of at most ten years; zero is refused.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "not a number with one of the units ms, s, m, h, d";
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or(WRONG)?;
    let number: u64 = text[..end].parse().map_err(|_| WRONG)?;
    let millis: u64 = match text[end..].trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(WRONG),
    };
    match number.checked_mul(millis).filter(|total| *total <= 3650 * 86_400_000).ok_or(WRONG)? {
        0 => Err("no time at all"),
        total => Ok(Duration::from_millis(total)),
    }
}

impl Timestamp {
    /// The time that is later than every other: "never".
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// From seconds since the epoch; saturates.
    pub const fn from_secs(secs: i64) -> Self {
        Timestamp(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This time plus `duration`; saturates at [`Timestamp::MAX`].
    pub fn after(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(millis))
    }

    /// This time minus `duration`; saturates.
    pub fn before(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_sub(millis))
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Timestamp) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// As the standard library's time.
    pub fn to_system_time(self) -> SystemTime {
        match u64::try_from(self.0) {
            Ok(millis) => UNIX_EPOCH + Duration::from_millis(millis),
            Err(_) => UNIX_EPOCH - Duration::from_millis(self.0.unsigned_abs()),
        }
    }

    fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX)
    }

    /// RFC 3339, UTC, milliseconds: `2026-11-23T08:47:00.000Z`; for machines.
    pub fn rfc3339(self) -> String {
        format!("{:.3}", self.to_jiff())
    }

    /// RFC 3339 in the host's time zone, whole seconds; for people.
    pub fn rfc3339_local(self) -> String {
        let zoned = self.to_jiff().to_zoned(jiff::tz::TimeZone::system());
        zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// The date-time of a header field, UTC (RFC 5322 §3.3).
    pub fn rfc5322(self) -> String {
        let zoned = self.to_jiff().to_zoned(jiff::tz::TimeZone::UTC);
        zoned.strftime("%a, %-d %b %Y %H:%M:%S +0000").to_string()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Err(before) => Timestamp(-i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let t = Timestamp::from_millis(1_795_000_000_123);
        assert_eq!(t.rfc3339(), "2026-11-18T11:06:40.123Z");
        assert_eq!(t.rfc5322(), "Wed, 18 Nov 2026 11:06:40 +0000");
    }

    #[test]
    fn saturates() {
        assert_eq!(Timestamp::MAX.after(Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(Timestamp::from_secs(1).since(Timestamp::from_secs(2)), Duration::ZERO);
        let before = Timestamp::from_millis(-5);
        assert_eq!(Timestamp::from(before.to_system_time()), before);
    }
}
