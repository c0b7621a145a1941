use proptest::prelude::*;

use super::*;
use crate::limits;

#[test]
fn canonical_lines() {
    for good in ["", "a", "a\r\n", "\r\n\r\n", "a\r\nb"] {
        assert!(is_canonical(good.as_bytes()), "{good:?}");
    }
    for bad in ["\n", "\r", "a\n", "a\rb\r\n", "\r\r\n", "\r\n\n", "\n\r\n", "a\r\n\r", "\n\r"] {
        assert!(!is_canonical(bad.as_bytes()), "{bad:?}");
    }
}

/// Each line that is found, whatever the cuts.
fn lines(pieces: &[&[u8]]) -> Vec<String> {
    let mut input = BytesMut::new();
    let mut lines = Lines::default();
    let mut found = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match lines.next(&mut input, |_| limits::COMMAND_LINE_OCTETS) {
                Line::Whole(length) => {
                    let line = input.split_to(length + 2);
                    found.push(String::from_utf8_lossy(&line[..length]).into_owned());
                }
                Line::Partial => break,
                refused => found.push(format!("{refused:?}")),
            }
        }
        assert!(input.len() < limits::COMMAND_LINE_OCTETS);
    }
    found
}

fn check_lines(text: &[u8], expected: &[&str]) {
    assert_eq!(lines(&[text]), expected);
    let octets: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(lines(&octets), expected);
    for cut in 0..text.len().min(64) {
        assert_eq!(lines(&[&text[..cut], &text[cut..]]), expected, "cut at {cut}");
    }
}

#[test]
fn command_lines() {
    check_lines(b"NOOP\r\nQUIT\r\n", &["NOOP", "QUIT"]);
    check_lines(b"\r\n\r\nhalf", &["", ""]);
    check_lines(b"a\rb\r\nc\r\n", &["a\rb", "c"]);
    check_lines(b"a\nb\r\nc\r\n", &["BareLf", "c"]);
    check_lines(b"\n\nb\r\r\nc\r\n", &["BareLf", "c"]);
    check_lines(b"a\n", &["BareLf"]);
    check_lines(b"a\n\r\nc\r\n", &["BareLf", "c"]);
    let mut longest = vec![b'x'; 2046];
    longest.extend_from_slice(b"\r\nc\r\n");
    check_lines(&longest, &[&"x".repeat(2046), "c"]);
    longest.insert(0, b'x');
    check_lines(&longest, &["TooLong", "c"]);
    let mut endless = vec![b'x'; 100_000];
    endless.extend_from_slice(b"\n\r\nc\r\n");
    check_lines(&endless, &["TooLong", "c"]);
}

/// The body, and what follows it; `None` while the end has not come.
fn dots(pieces: &[&[u8]], limit: u64) -> Option<(Option<String>, String)> {
    let mut input = BytesMut::new();
    let mut body = Body::new(limit);
    let mut dots = Dots::default();
    let mut ended = false;
    for piece in pieces {
        input.extend_from_slice(piece);
        ended = ended || dots.take(&mut input, &mut body);
    }
    let rest = String::from_utf8_lossy(&input).into_owned();
    let over = body.is_over();
    let octets = body.finish();
    assert!(!over || octets.is_empty());
    ended.then(|| ((!over).then(|| String::from_utf8_lossy(&octets).into_owned()), rest))
}

fn check_dots(text: &str, expected: Option<(&str, &str)>) {
    let expected = expected.map(|(body, rest)| (Some(body.to_owned()), rest.to_owned()));
    let text = text.as_bytes();
    assert_eq!(dots(&[text], 1000), expected, "{text:?}");
    for cut in 0..=text.len() {
        assert_eq!(dots(&[&text[..cut], &text[cut..]], 1000), expected, "{text:?} cut at {cut}");
    }
    let octets: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(dots(&octets, 1000), expected, "{text:?} by octets");
}

#[test]
fn the_end_of_data() {
    check_dots("a\r\n.\r\nQUIT\r\n", Some(("a\r\n", "QUIT\r\n")));
    check_dots(".\r\n", Some(("", "")));
    check_dots("..\r\n.\r\n", Some((".\r\n", "")));
    check_dots(".a\r\n...b\r\n.\r\n", Some(("a\r\n..b\r\n", "")));
    check_dots("a.\r\n.\r\n", Some(("a.\r\n", "")));
    check_dots("a\r\n", None);
    check_dots("a\r\n.", None);
    check_dots("a\r\n.\r", None);
}

/// Each of these ended DATA in some server, and let a message be smuggled in.
#[test]
fn nothing_else_ends_data() {
    for end in
        ["\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n\0.\r\n", "\r\n.\0\r\n", "\r\n. \r\n"]
    {
        let text = format!("a{end}MAIL FROM:<x@y>\r\n.\r\nQUIT\r\n");
        let (body, rest) = dots(&[text.as_bytes()], 1000).unwrap();
        assert_eq!(rest, "QUIT\r\n", "{end:?}");
        assert!(body.unwrap().contains("MAIL FROM"), "{end:?}");
    }
}

#[test]
fn too_much_is_counted_and_dropped() {
    let text = format!("{}\r\n.\r\nQUIT\r\n", "x".repeat(98));
    assert_eq!(dots(&[text.as_bytes()], 99).unwrap(), (None, "QUIT\r\n".to_owned()));
    assert_eq!(dots(&[text.as_bytes()], 100).unwrap().0.unwrap().len(), 100);
    let mut body = Body::new(10);
    let mut chunk = Chunk { left: u64::MAX, last: true };
    let mut input = BytesMut::from(&[b'x'; 64][..]);
    assert!(!chunk.take(&mut input, Some(&mut body)));
    assert_eq!((body.is_over(), body.total(), chunk.left, input.len()), (true, 64, u64::MAX - 64, 0));
}

#[test]
fn a_whole_entity_is_not_copied() {
    let mut input = BytesMut::from("entity\r\nQUIT\r\n");
    let at = input.as_ptr();
    let mut body = Body::new(1000);
    assert!(Chunk { left: 8, last: true }.take(&mut input, Some(&mut body)));
    assert_eq!(body.finish().as_ptr(), at);
    let mut input = BytesMut::from("entity\r\n.\r\nQUIT\r\n");
    let at = input.as_ptr();
    let mut body = Body::new(1000);
    assert!(Dots::default().take(&mut input, &mut body));
    assert_eq!(body.finish().as_ptr(), at);
}

#[test]
fn chunks_are_joined() {
    let mut body = Body::new(1000);
    let mut input = BytesMut::from("one two three ");
    assert!(Chunk { left: 4, last: false }.take(&mut input, Some(&mut body)));
    assert!(Chunk { left: 4, last: true }.take(&mut input, Some(&mut body)));
    assert!(!Chunk { left: 7, last: true }.take(&mut input, Some(&mut body)));
    assert!(Chunk { left: 0, last: true }.take(&mut input, Some(&mut body)));
    assert_eq!(&body.finish()[..], b"one two three ");
}

fn stuffed(entity: &str) -> String {
    let mut wire: String =
        entity.split_inclusive('\n').map(|l| if l.starts_with('.') { format!(".{l}") } else { l.into() }).collect();
    wire.push_str(".\r\n");
    wire
}

proptest! {
    #[test]
    fn dots_come_back(lines in prop::collection::vec("[.a]{0,4}", 0..20), cut in 0usize..200) {
        let entity: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let wire = stuffed(&entity);
        let cut = cut.min(wire.len());
        let got = dots(&[&wire.as_bytes()[..cut], &wire.as_bytes()[cut..]], 10_000);
        prop_assert_eq!(got, Some((Some(entity), String::new())));
    }

    #[test]
    fn cuts_change_nothing(text in "[.\r\nab]{0,60}", cut in 0usize..60) {
        let cut = cut.min(text.len());
        let (head, tail) = text.as_bytes().split_at(cut);
        prop_assert_eq!(lines(&[head, tail]), lines(&[text.as_bytes()]));
        prop_assert_eq!(dots(&[head, tail], 30), dots(&[text.as_bytes()], 30));
        let bare = text.replace("\r\n", "").contains(['\r', '\n']);
        prop_assert_eq!(is_canonical(text.as_bytes()), !bare);
    }
}
