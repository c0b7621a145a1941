//! The parameters of MAIL and RCPT: one table each, and their values.
//!
//! In: the text after the path, and the extensions offered. Out: [`Mail`] or [`Rcpt`] filled in. A parameter whose
//! extension was not offered is unknown (RFC 5321 §4.1.1.11); one that is given twice is an error (RFC 3461 §4.5, RFC 1870 §6).
//! RFC 1870 §6, RFC 2852 §4, RFC 3030 §3, RFC 3461 §4, RFC 4954 §5, RFC 6152 §2, RFC 6531 §3.4, RFC 8689 §2.

use crate::address::Mailbox;
use crate::envelope::{Body, ByMode, Class, Notify, Ret};
use crate::smtp::command::{By, CommandError, Mail, Rcpt};
use crate::smtp::extension::{Extension, Set, number};
use crate::smtp::xtext;

/// A parameter, and how its value is put where it belongs.
#[derive(Debug)]
pub struct Parameter<T: 'static> {
    /// The esmtp-keyword.
    pub keyword: &'static str,
    /// The extension that it belongs to.
    pub extension: Extension,
    /// How it is written, for the reply to one that is wrong.
    pub form: &'static str,
    /// Whether it must have a value; else it must not.
    pub has_value: bool,
    /// Stores the value; `None` when it is wrong.
    store: fn(&mut T, &str) -> Option<()>,
}

/// The parameters of MAIL.
pub static MAIL: [Parameter<Mail>; 9] = [
    Parameter {
        keyword: "SIZE",
        extension: Extension::Size,
        form: "SIZE=octets",
        has_value: true,
        store: |mail, value| number(value).map(|size| mail.size = Some(size)),
    },
    Parameter {
        keyword: "BODY",
        extension: Extension::EightBitMime,
        form: "BODY=7BIT, BODY=8BITMIME or BODY=BINARYMIME",
        has_value: true,
        store: |mail, value| body(value).map(|body| mail.body = body),
    },
    Parameter {
        keyword: "IMPP",
        extension: Extension::Impp,
        form: "IMPP=IM or IMPP=PRES",
        has_value: true,
        store: |mail, value| class(value).map(|class| mail.class = Some(class)),
    },
    Parameter {
        keyword: "SMTPUTF8",
        extension: Extension::SmtpUtf8,
        form: "SMTPUTF8 without a value",
        has_value: false,
        store: |mail, _| {
            mail.utf8 = true;
            Some(())
        },
    },
    Parameter {
        keyword: "ENVID",
        extension: Extension::Dsn,
        form: "ENVID=xtext of at most 100 printable characters",
        has_value: true,
        store: |mail, value| xtext::decode_envid(value).ok().map(|envid| mail.envid = Some(envid)),
    },
    Parameter {
        keyword: "RET",
        extension: Extension::Dsn,
        form: "RET=FULL or RET=HDRS",
        has_value: true,
        store: |mail, value| ret(value).map(|ret| mail.ret = Some(ret)),
    },
    Parameter {
        keyword: "BY",
        extension: Extension::DeliverBy,
        form: "BY=seconds;R or BY=seconds;N, T after it for a trace, with R more than 0 seconds",
        has_value: true,
        store: |mail, value| by(value).map(|by| mail.by = Some(by)),
    },
    Parameter {
        keyword: "REQUIRETLS",
        extension: Extension::RequireTls,
        form: "REQUIRETLS without a value",
        has_value: false,
        store: |mail, _| {
            mail.require_tls = true;
            Some(())
        },
    },
    Parameter {
        keyword: "AUTH",
        extension: Extension::Auth,
        form: "AUTH=xtext of an address, or AUTH=<>",
        has_value: true,
        // No client is trusted to say who else a message is from: read and forgotten (RFC 4954 §5).
        store: |_, value| names_submitter(value).then_some(()),
    },
];

/// The parameters of RCPT.
pub static RCPT: [Parameter<Rcpt>; 2] = [
    Parameter {
        keyword: "NOTIFY",
        extension: Extension::Dsn,
        form: "NOTIFY=NEVER, or SUCCESS, FAILURE, DELAY with commas between",
        has_value: true,
        store: |rcpt, value| notify(value).map(|notify| rcpt.notify = Some(notify)),
    },
    Parameter {
        keyword: "ORCPT",
        extension: Extension::Dsn,
        form: "ORCPT=type;xtext of at most 500 characters",
        has_value: true,
        store: |rcpt, value| xtext::decode_original(value).ok().map(|original| rcpt.original = Some(original)),
    },
];

/// Reads the parameters in `text`, which is empty or starts with a space, into `target`.
pub(super) fn read<T>(
    text: &str,
    table: &'static [Parameter<T>],
    offered: Set,
    target: &mut T,
) -> Result<(), CommandError> {
    let mut seen: u32 = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let known = |parameter: &&Parameter<T>| {
            parameter.keyword.eq_ignore_ascii_case(keyword) && offered.contains(parameter.extension)
        };
        let index = table.iter().position(|parameter| known(&parameter));
        let Some((index, parameter)) = index.and_then(|index| Some((index, table.get(index)?))) else {
            return Err(CommandError::UnknownParameter(keyword.to_owned()));
        };
        if seen & (1 << index) != 0 {
            return Err(CommandError::RepeatedParameter(parameter.keyword));
        }
        seen |= 1 << index;
        // An esmtp-value is not empty and has no `=` (RFC 5321 §4.1.2).
        let valid = match value {
            Some(value) => parameter.has_value && !value.is_empty() && !value.contains('='),
            None => !parameter.has_value,
        };
        let stored = valid.then(|| (parameter.store)(target, value.unwrap_or_default())).flatten();
        stored.ok_or(CommandError::ParameterValue(parameter.form))?;
    }
    Ok(())
}

fn names_submitter(value: &str) -> bool {
    xtext::decode(value).is_ok_and(|text| text == "<>" || Mailbox::parse(&text).is_ok())
}

fn body(value: &str) -> Option<Body> {
    let names = [("7BIT", Body::SevenBit), ("8BITMIME", Body::EightBitMime), ("BINARYMIME", Body::BinaryMime)];
    one_of(value, &names)
}

fn class(value: &str) -> Option<Class> {
    one_of(value, &[(Class::Im.keyword(), Class::Im), (Class::Pres.keyword(), Class::Pres)])
}

fn ret(value: &str) -> Option<Ret> {
    one_of(value, &[("FULL", Ret::Full), ("HDRS", Ret::Hdrs)])
}

fn one_of<T: Copy>(value: &str, names: &[(&str, T)]) -> Option<T> {
    names.iter().find(|(name, _)| name.eq_ignore_ascii_case(value)).map(|(_, meaning)| *meaning)
}

/// RFC 3461 §4.1: NEVER stands alone.
fn notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::NEVER);
    }
    let mut notify = Notify::NEVER;
    for word in value.split(',') {
        let names = [("SUCCESS", &mut notify.success), ("FAILURE", &mut notify.failure), ("DELAY", &mut notify.delay)];
        let (_, flag) = names.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word))?;
        *flag = true;
    }
    Some(notify)
}

/// RFC 2852 §4: one to nine digits; with mode R zero and less are errors.
fn by(value: &str) -> Option<By> {
    let (time, rest) = value.split_once(';')?;
    let (negative, digits) = match time.as_bytes().first()? {
        b'-' => (true, &time[1..]),
        b'+' => (false, &time[1..]),
        _ => (false, time),
    };
    if !(1..=9).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = digits.parse().ok()?;
    let seconds = if negative { -seconds } else { seconds };
    let (mode, trace) = one_of(
        rest,
        &[
            ("R", (ByMode::Return, false)),
            ("RT", (ByMode::Return, true)),
            ("N", (ByMode::Notify, false)),
            ("NT", (ByMode::Notify, true)),
        ],
    )?;
    if mode == ByMode::Return && seconds <= 0 { None } else { Some(By { seconds, mode, trace }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_times() {
        let show = |value: &str| by(value).map(|by| (by.seconds, by.mode, by.trace));
        assert_eq!(show("120;R"), Some((120, ByMode::Return, false)));
        assert_eq!(show("+999999999;rt"), Some((999_999_999, ByMode::Return, true)));
        assert_eq!(show("-5;N"), Some((-5, ByMode::Notify, false)));
        assert_eq!(show("0;nT"), Some((0, ByMode::Notify, true)));
        for bad in
            ["0;R", "-1;R", "1", "1;", ";R", "1;X", "1;RTT", "1;TR", "1000000000;N", "+;N", "--1;N", "1 ;N", "é;N"]
        {
            assert_eq!(show(bad), None, "{bad}");
        }
    }

    #[test]
    fn submitters() {
        for good in ["<>", "e+3Dmc2@a.example", "alice@a.example"] {
            assert!(names_submitter(good), "{good}");
        }
        for bad in ["<a@b>", "alice", "a+zz@b", "<>x"] {
            assert!(!names_submitter(bad), "{bad}");
        }
    }

    #[test]
    fn notifications() {
        let show = |value: &str| notify(value).map(Notify::keyword);
        assert_eq!(show("never").as_deref(), Some("NEVER"));
        assert_eq!(show("delay,SUCCESS,Failure").as_deref(), Some("SUCCESS,FAILURE,DELAY"));
        assert_eq!(show("DELAY,DELAY").as_deref(), Some("DELAY"));
        for bad in ["NEVER,SUCCESS", "SUCCESS,", "", "SUCCESS;DELAY", "YES"] {
            assert_eq!(show(bad), None, "{bad}");
        }
    }

    #[test]
    fn keywords_are_unique_and_the_forms_show_them() {
        let mut all: Vec<(&str, &str)> = MAIL.iter().map(|p| (p.keyword, p.form)).collect();
        all.extend(RCPT.iter().map(|p| (p.keyword, p.form)));
        for (index, (keyword, form)) in all.iter().enumerate() {
            assert!(form.starts_with(keyword), "{form}");
            assert!(all.iter().skip(index + 1).all(|(other, _)| other != keyword), "{keyword}");
        }
    }
}
