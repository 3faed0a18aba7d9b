//! Trying again: when, how often, and how long to wait in between.
use crate::block::Driver;
use crate::transport::Answer;
use crate::{Error, ErrorKind, RetryPolicy};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime};

/// Whether this status is worth another attempt.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504 | 520..=524)
}

/// Counts failures and sleeps between attempts.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failures: u32,
}

impl Attempts {
    /// Forgets the failures so far: there was progress.
    pub(crate) fn progress(&mut self) {
        self.failures = 0;
    }

    /// After a failure: sleeps and returns `Ok` when another attempt is due, else gives the error back.
    pub(crate) fn failed(
        &mut self,
        driver: &Driver,
        policy: &RetryPolicy,
        error: Error,
        asked: Option<Duration>,
    ) -> Result<(), Error> {
        if !error.is_transient() {
            return Err(error);
        }
        self.failures += 1;
        if self.failures >= policy.attempts {
            let tries = self.failures;
            return Err(if tries > 1 { error.note(format!("tried {tries} times")) } else { error });
        }
        if let Some(asked) = asked
            && asked > policy.longest_asked
        {
            let seconds = asked.as_secs();
            return Err(error.note(format!("the registry asks to wait {seconds} s before the next attempt")));
        }
        driver.sleep(asked.unwrap_or_else(|| pause(policy, self.failures)))
    }
}

/// Repeats `attempt` until its answer or its error is no passing one.
pub(crate) fn answered(
    driver: &Driver,
    policy: &RetryPolicy,
    mut attempt: impl FnMut() -> Result<Answer, Error>,
) -> Result<Answer, Error> {
    let mut attempts = Attempts::default();
    loop {
        match attempt() {
            Ok(answer) if !is_transient(answer.status) => return Ok(answer),
            Ok(answer) => {
                attempts.failed(driver, policy, answer.error(), asked(&answer.headers, SystemTime::now()))?;
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => attempts.failed(driver, policy, error, None)?,
        }
    }
}

/// What `Retry-After` asks for: seconds, or a date.
pub(crate) fn asked(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

/// The pause after failure number `failures` (from 1): doubled each time, and between half and all of
/// it, so that many clients do not come back at the same moment.
pub(crate) fn pause(policy: &RetryPolicy, failures: u32) -> Duration {
    let doubled = policy.base.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let full = doubled.min(policy.longest);
    full.mul_f64(0.5 + 0.5 * chance())
}

/// A number in 0..1 that differs each time; the standard library's hasher keys are random.
fn chance() -> f64 {
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let policy = RetryPolicy {
            attempts: 5,
            base: Duration::from_secs(1),
            longest: Duration::from_secs(10),
            longest_asked: Duration::ZERO,
        };
        for (failures, most) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (60, 10)] {
            let most = Duration::from_secs(most);
            let pause = pause(&policy, failures);
            assert!(pause <= most && pause >= most / 2, "{failures}: {pause:?}");
        }
    }

    #[test]
    fn reads_seconds_and_dates() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let get = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            asked(&headers, now)
        };
        assert_eq!(get("7"), Some(Duration::from_secs(7)));
        assert_eq!(get("Sun, 06 Nov 1994 08:49:57 GMT"), Some(Duration::from_secs(20)));
        assert_eq!(get("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(get("soon"), None);
    }
}
