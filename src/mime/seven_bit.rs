//! An entity in 7-bit clean form, so that what is signed passes every hop as it is.
//!
//! In: an entity that its author composes. Out: the same with bodies encoded where they need it; headers stay, but for
//! Content-Transfer-Encoding. Invariant: what is clean already stays octet for octet, and so does everything that
//! somebody else signed or wrote. Fails: what cannot be encoded without changing somebody else's message, or its own
//! header. RFC 2045 §6, RFC 8551 §3.1.3.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Defect;
use super::header::{Fields, line_end};
use super::octets::lines;
use super::signed::{Described, describe};
use crate::limits;

/// The longest line of quoted-printable (RFC 2045 §6.7).
const QUOTED_LINE: usize = 76;

/// Encodes what of `entity` is not 7-bit text in lines of at most 998 octets.
pub fn seven_bit(entity: &[u8]) -> Result<Cow<'_, [u8]>, Defect> {
    encoded(entity, 0)
}

fn encoded(entity: &[u8], depth: usize) -> Result<Cow<'_, [u8]>, Defect> {
    let described = describe(entity)?;
    let header = &entity[..entity.len() - described.body.len()];
    lines(header)?;
    if lines(described.body) == Ok(false) {
        return Ok(Cow::Borrowed(entity));
    }
    if depth >= limits::MIME_DEPTH {
        return Err(Defect::TooDeep);
    }
    let whole = described.is("message", "rfc822") || described.is("multipart", "signed");
    let plain = matches!(described.encoding().as_str(), "7bit" | "8bit" | "binary");
    if whole || !plain {
        return Err(Defect::NeedsEightBit);
    }
    if let Some(boundary) = described.parameter("boundary").filter(|_| described.is_multipart()) {
        let body = multipart(described.body, boundary.trim_ascii_end(), depth)?;
        return Ok(Cow::Owned([with_encoding(header, "7bit"), body].concat()));
    }
    Ok(Cow::Owned(leaf(header, &described)))
}

/// The parts of a multipart body encoded one by one; delimiters, preamble and epilogue stay.
fn multipart(body: &[u8], boundary: &[u8], depth: usize) -> Result<Vec<u8>, Defect> {
    let mut out = Vec::with_capacity(body.len());
    let mut start = 0;
    let mut inside = false;
    let mut ended = false;
    let mut at = 0;
    while at < body.len() {
        let end = line_end(body, at);
        let line = body[at..end].strip_prefix(b"--").and_then(|rest| rest.strip_prefix(boundary));
        if let Some(rest @ (b"" | b"--")) = line.map(<[u8]>::trim_ascii_end)
            && !ended
        {
            let part = &body[start..at];
            if inside {
                let part = part.strip_suffix(b"\r\n").unwrap_or(part);
                out.extend_from_slice(&encoded(part, depth + 1)?);
                out.extend_from_slice(b"\r\n");
            } else {
                outside(part, &mut out)?;
            }
            out.extend_from_slice(&body[at..end]);
            (start, inside, ended) = (end, rest.is_empty(), !rest.is_empty());
        }
        at = end;
    }
    if inside {
        out.extend_from_slice(&encoded(&body[start..], depth + 1)?);
    } else {
        outside(&body[start..], &mut out)?;
    }
    Ok(out)
}

/// Preamble and epilogue are shown by nobody, and must be clean.
fn outside(text: &[u8], out: &mut Vec<u8>) -> Result<(), Defect> {
    if lines(text)? {
        return Err(Defect::NeedsEightBit);
    }
    out.extend_from_slice(text);
    Ok(())
}

fn leaf(header: &[u8], described: &Described<'_>) -> Vec<u8> {
    let body = described.body;
    let odd = body.iter().filter(|octet| !octet.is_ascii()).count();
    let quoted = described.is_text() && odd * 6 <= body.len() && !body.contains(&0);
    let name = if quoted { "quoted-printable" } else { "base64" };
    let mut out = with_encoding(header, name);
    if quoted {
        quote(body, &mut out);
    } else {
        for line in STANDARD.encode(body).as_bytes().chunks(QUOTED_LINE) {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

/// The header with that Content-Transfer-Encoding in the place of its own, and its empty line.
fn with_encoding(header: &[u8], name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len() + 50);
    for field in Fields::new(header).flatten() {
        if !field.is("content-transfer-encoding") {
            out.extend_from_slice(&header[field.range]);
        }
    }
    out.extend_from_slice(format!("Content-Transfer-Encoding: {name}\r\n\r\n").as_bytes());
    out
}

/// Quoted-printable (RFC 2045 §6.7); only CRLF is an end of line.
fn quote(body: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    let mut at = 0;
    while let Some(&octet) = body.get(at) {
        let rest = &body[at..];
        if rest.starts_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
            (column, at) = (0, at + 2);
            continue;
        }
        let last = rest.len() == 1 || rest[1..].starts_with(b"\r\n");
        let literal = match octet {
            b' ' | b'\t' => !last,
            b'=' => false,
            // A mailbox file would change such a line, and SMTP doubles a dot.
            b'F' | b'.' => column > 0,
            octet => octet.is_ascii_graphic(),
        };
        let width = if literal { 1 } else { 3 };
        if column + width > QUOTED_LINE - usize::from(!last) {
            out.extend_from_slice(b"=\r\n");
            column = 0;
            continue;
        }
        if literal {
            out.push(octet);
        } else {
            out.extend_from_slice(format!("={octet:02X}").as_bytes());
        }
        column += width;
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entity: &str, expected: &str) {
        let got = seven_bit(entity.as_bytes()).unwrap();
        assert_eq!(String::from_utf8_lossy(&got), expected);
        assert_eq!(lines(&got), Ok(false));
    }

    #[test]
    fn clean_stays() {
        for text in ["Content-Type: text/plain\r\n\r\nhello \r\nFrom x\r\n", "\r\n", "A: \u{e9}\r\n\r\nbody"] {
            assert!(matches!(seven_bit(text.as_bytes()), Ok(Cow::Borrowed(same)) if same == text.as_bytes()));
        }
    }

    #[test]
    fn leaves() {
        check(
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nA: b\r\n\r\nFrom caf\u{e9} = \r\n.\r\n",
            "Content-Type: text/plain; charset=utf-8\r\nA: b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
             =46rom caf=C3=A9 =3D=20\r\n=2E\r\n",
        );
        check(
            "Content-Type: application/x\r\n\r\n\u{e9}",
            "Content-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\nw6k=\r\n",
        );
        let long = "x".repeat(1200);
        let got = seven_bit(format!("Content-Type: text/plain\r\n\r\n{long}\r\n").as_bytes()).unwrap().into_owned();
        let body = String::from_utf8(got).unwrap().split_once("\r\n\r\n").unwrap().1.replace("=\r\n", "");
        assert_eq!(body, format!("{long}\r\n"));
    }

    #[test]
    fn parts_one_by_one() {
        check(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\nContent-Type: text/plain\r\n\r\n\u{e9}\r\n\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nclean\r\n--b--\r\n--b\r\n",
            "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\npre\r\n--b\r\n\
             Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nw6kNCg==\r\n\r\n--b\r\n\
             Content-Type: text/plain\r\n\r\nclean\r\n--b--\r\n--b\r\n",
        );
    }

    #[test]
    fn what_belongs_to_others() {
        let check = |entity: &str| assert_eq!(seven_bit(entity.as_bytes()), Err(Defect::NeedsEightBit), "{entity}");
        check("Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\n\u{e9}");
        check("Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\u{e9}\r\n--b--\r\n");
        check("Content-Transfer-Encoding: base64\r\n\r\n\u{e9}");
        check("Content-Type: multipart/mixed; boundary=b\r\n\r\n\u{e9}\r\n--b\r\n\r\n\r\n--b--\r\n");
        assert_eq!(seven_bit(b"A: b\n\r\n\r\nbody"), Err(Defect::BareLf));
    }
}
