//! Networks by their prefixes.
//!
//! In: `192.0.2.0/24`, `2001:db8::1`. Out: whether an address is in it; one of IPv4 in the form of IPv6 is one of IPv4.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// No address is in front.
    #[error("not an IP address")]
    Address,
    /// More bits than the address has, or no number.
    #[error("not a length of a network prefix")]
    Bits,
}

impl Network {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let shifted =
            |value: u128, width: u8| value.checked_shr(u32::from(width.saturating_sub(self.bits))).unwrap_or(0);
        match (address.to_canonical(), self.address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                shifted(u128::from(one.to_bits()), 32) == shifted(u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => shifted(one.to_bits(), 128) == shifted(other.to_bits(), 128),
            _ => false,
        }
    }
}

/// One address.
impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Network {
        let address = address.to_canonical();
        Network { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let whole = Network::from(address.parse::<IpAddr>().map_err(|_| NetworkError::Address)?);
        let Some(bits) = bits else { return Ok(whole) };
        let bits = bits.parse().ok().filter(|bits| *bits <= whole.bits).ok_or(NetworkError::Bits)?;
        Ok(Network { bits, ..whole })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let check = |network: &str, address: &str, expected| {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{address} in {network}");
        };
        check("192.0.2.0/24", "192.0.2.200", true);
        check("192.0.2.0/24", "::ffff:192.0.2.1", true);
        check("::ffff:192.0.2.1", "192.0.2.1", true);
        check("192.0.2.0/24", "192.0.3.1", false);
        check("192.0.2.1", "192.0.2.1", true);
        check("0.0.0.0/0", "203.0.113.1", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("2001:db8::/32", "2001:db8:1::1", true);
        check("2001:db8::1", "2001:db8::2", false);
        check("::/0", "2001:db8::2", true);
    }

    #[test]
    fn mistakes() {
        let check = |text: &str, expected| assert_eq!(text.parse::<Network>(), Err(expected), "{text}");
        check("192.0.2.0/33", NetworkError::Bits);
        check("2001:db8::/129", NetworkError::Bits);
        check("192.0.2.0/", NetworkError::Bits);
        check("a.example", NetworkError::Address);
        check("/8", NetworkError::Address);
    }
}
