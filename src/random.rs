//! Random numbers of the system: octets that nobody can guess, and tokens of them.
//!
//! Out: octets. Invariant: what is returned as `Ok` was filled by the system's generator. Fails with [`NoRandomness`], which
//! each caller tells in its own words, for what must not be guessed is not made without.

use aws_lc_rs::rand;

/// The system gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this system gives no random numbers at the moment; try again")]
pub struct NoRandomness;

impl From<NoRandomness> for std::io::Error {
    fn from(fault: NoRandomness) -> Self {
        std::io::Error::other(fault)
    }
}

/// Octets that nobody can guess.
pub fn octets<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut octets = [0; N];
    rand::fill(&mut octets).map_err(|_| NoRandomness)?;
    Ok(octets)
}

/// 128 bits as 32 hexadecimal digits in lower case.
pub fn token() -> Result<String, NoRandomness> {
    Ok(format!("{:032x}", u128::from_be_bytes(octets()?)))
}

/// A number from 0 to `most`, for a choice among equals (RFC 2782); not for what must not be guessed: without random
/// numbers it is 0, so that the first of equals is taken.
pub fn up_to(most: u32) -> u32 {
    let drawn = octets().map_or(0, u32::from_le_bytes);
    u32::try_from(u64::from(drawn) % (u64::from(most) + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_form_and_differ() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert_ne!(one, other);
        assert!(one.len() == 32 && one.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{one}");
    }

    #[test]
    fn numbers_stay_below_the_bound() {
        assert_eq!(up_to(0), 0);
        let drawn: std::collections::BTreeSet<u32> = (0..400).map(|_| up_to(2)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
        let _ = up_to(u32::MAX);
    }
}
