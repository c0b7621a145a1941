//! What octets a text consists of, eight at a time.
//!
//! In: the header section, or the body. Out: whether any octet has its eighth bit set. Fails: NUL, a CR or LF that is
//! not part of a CRLF, a line of more than 998 octets. RFC 5321 §2.3.8 and §4.5.3.1.6, RFC 2045 §2.7 and §2.8.

use super::Defect;
use crate::limits;

/// Octets of a line without its CRLF.
const LINE: usize = limits::TEXT_LINE_OCTETS - 2;

/// Checks the lines of `text`; says whether any octet is not US-ASCII. A CR at the end is bare.
pub(super) fn lines(text: &[u8]) -> Result<bool, Defect> {
    /// 14 in each octet: greater than NUL, LF and CR, and few characters of text are less.
    const CONTROLS: u64 = 0x0e0e_0e0e_0e0e_0e0e;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut state = Lines { start: 0, after_cr: false };
    let mut all = 0;
    let mut at = 0;
    let mut words = text.chunks_exact(8);
    for word in words.by_ref() {
        let mut octets = [0; 8];
        octets.copy_from_slice(word);
        let value = u64::from_le_bytes(octets);
        all |= value;
        // Not zero when any octet is less than 14; borrowing makes no octet pass unseen.
        let controls = value.wrapping_sub(CONTROLS) & !value & HIGH;
        if controls != 0 || state.after_cr {
            for (index, octet) in word.iter().enumerate() {
                state.take(*octet, at + index)?;
            }
        }
        at += 8;
    }
    for (index, octet) in words.remainder().iter().enumerate() {
        all |= u64::from(*octet);
        state.take(*octet, at + index)?;
    }
    if state.after_cr {
        return Err(Defect::BareCr);
    }
    if text.len() - state.start > LINE {
        return Err(Defect::LongLine);
    }
    Ok(all & HIGH != 0)
}

struct Lines {
    start: usize,
    after_cr: bool,
}

impl Lines {
    fn take(&mut self, octet: u8, at: usize) -> Result<(), Defect> {
        match octet {
            b'\n' if !self.after_cr => return Err(Defect::BareLf),
            b'\n' => {
                if at - 1 - self.start > LINE {
                    return Err(Defect::LongLine);
                }
                self.start = at + 1;
                self.after_cr = false;
            }
            _ if self.after_cr => return Err(Defect::BareCr),
            b'\r' => self.after_cr = true,
            0 => return Err(Defect::Nul),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same, octet by octet.
    fn plainly(text: &[u8]) -> Result<bool, Defect> {
        let mut state = Lines { start: 0, after_cr: false };
        for (at, octet) in text.iter().enumerate() {
            state.take(*octet, at)?;
        }
        match state {
            Lines { after_cr: true, .. } => Err(Defect::BareCr),
            Lines { start, .. } if text.len() - start > LINE => Err(Defect::LongLine),
            _ => Ok(!text.is_ascii()),
        }
    }

    #[test]
    fn faults() {
        let check = |text: &[u8], expected| assert_eq!(lines(text), expected, "{:?}", String::from_utf8_lossy(text));
        check(b"", Ok(false));
        check(b"a line\r\nand one more without an end", Ok(false));
        check("h\u{e9}\r\n".as_bytes(), Ok(true));
        check("0123456789h\u{e9}llo 01234567890\r\n".as_bytes(), Ok(true));
        check(b"bare\nlf\r\n", Err(Defect::BareLf));
        check(b"bare\rcr\r\n", Err(Defect::BareCr));
        check(b"0123456\r012345678", Err(Defect::BareCr));
        check(b"0123456\r\n12345678", Ok(false));
        check(b"cr at the end\r", Err(Defect::BareCr));
        check(b"nul\0\r\n", Err(Defect::Nul));
        check(format!("{}\r\n", "x".repeat(998)).as_bytes(), Ok(false));
        check(format!("{}\r\n", "x".repeat(999)).as_bytes(), Err(Defect::LongLine));
        check("x".repeat(999).as_bytes(), Err(Defect::LongLine));
        check(format!("a\r\n{}\r\nb", "x".repeat(999)).as_bytes(), Err(Defect::LongLine));
    }

    fn octet() -> impl Strategy<Value = u8> {
        prop_oneof![Just(b'\r'), Just(b'\n'), 12u8..16, any::<u8>()]
    }

    proptest! {
        #[test]
        fn words_see_what_octets_see(text in proptest::collection::vec(octet(), 0..40)) {
            prop_assert_eq!(lines(&text), plainly(&text));
        }
        #[test]
        fn proper_lines(lengths in proptest::collection::vec(0usize..30, 0..20)) {
            let text: Vec<u8> = lengths.iter().flat_map(|n| [vec![b'x'; *n], b"\r\n".to_vec()].concat()).collect();
            prop_assert_eq!(lines(&text), Ok(false));
        }
    }
}
