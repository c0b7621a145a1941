//! Tables of the file against the sections of [`super::keys`].
//!
//! In: a TOML document. Out: typed values with their places; every fault goes into the list of problems.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{Default, Key, SECTIONS, Section, TOP};
use super::problem::{Problem, nearest};

/// A section as it stands in the file, or its absence.
pub(super) struct Table<'a> {
    section: &'static Section,
    values: Option<&'a DeTable<'a>>,
    span: Range<usize>,
}

impl Section {
    /// `[queue]`, `[[domain]]`.
    pub fn heading(&self) -> String {
        match (self.name, self.repeated) {
            ("", _) => "the keys before the first section".to_owned(),
            (name, true) => format!("[[{name}]]"),
            (name, false) => format!("[{name}]"),
        }
    }
}

fn entry<'a>(table: &'a DeTable<'a>, name: &str) -> Option<(&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
    table.iter().find(|(key, _)| key.get_ref() == name)
}

impl<'a> Table<'a> {
    /// The keys before the first section.
    pub fn top(document: &'a DeTable<'a>, problems: &mut Vec<Problem>) -> Self {
        let table = Table { section: &TOP, values: Some(document), span: 0..0 };
        table.report_unknown(problems);
        table
    }

    /// A section that stands once or not at all.
    pub fn single(document: &'a DeTable<'a>, section: &'static Section, problems: &mut Vec<Problem>) -> Self {
        let absent = Table { section, values: None, span: 0..0 };
        let Some((key, value)) = entry(document, section.name) else { return absent };
        let Some(values) = value.get_ref().as_table() else {
            problems.push(not_a_section(section, key.span()));
            return absent;
        };
        let table = Table { section, values: Some(values), span: key.span() };
        table.report_unknown(problems);
        table
    }

    /// A section that stands any number of times.
    pub fn repeated(document: &'a DeTable<'a>, section: &'static Section, problems: &mut Vec<Problem>) -> Vec<Self> {
        let Some((key, value)) = entry(document, section.name) else { return Vec::new() };
        let elements = value.get_ref().as_array().into_iter().flat_map(|array| array.iter());
        let tables: Vec<Self> = elements
            .filter_map(|element| Some((element.span(), element.get_ref().as_table()?)))
            .map(|(span, values)| Table { section, values: Some(values), span })
            .collect();
        let whole = value.get_ref().as_array().is_some_and(|array| array.len() == tables.len());
        if !whole {
            problems.push(not_a_section(section, key.span()));
        }
        tables.iter().for_each(|table| table.report_unknown(problems));
        tables
    }

    /// Whether the section is there.
    pub fn is_there(&self) -> bool {
        self.values.is_some()
    }

    /// Where the section begins.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Whether the file has the key.
    pub fn has<T>(&self, key: &Key<T>) -> Option<Range<usize>> {
        self.values.and_then(|values| entry(values, key.info.name)).map(|(key, _)| key.span())
    }

    /// The value, or the default; `None` after a problem, and for an absent key whose default is derived.
    pub fn get<T>(&self, key: &Key<T>, problems: &mut Vec<Problem>) -> Option<Spanned<T>> {
        if let Some((_, value)) = self.values.and_then(|values| entry(values, key.info.name)) {
            return match (key.kind.read)(value) {
                Ok(read) => Some(Spanned::new(value.span(), read)),
                Err(faults) => {
                    problems.extend(faults.into_iter().map(|(span, fault)| {
                        Problem::new(span, format!("`{}`: {fault}", key.info.name)).expected(key.info.expected)
                    }));
                    None
                }
            };
        }
        match key.info.default {
            Default::Value(text) => {
                let value = DeValue::parse(text).ok()?;
                (key.kind.read)(&value).ok().map(|read| Spanned::new(self.span(), read))
            }
            Default::Derived(_) => None,
            Default::Required => {
                let place = self.section.heading();
                let problem = Problem::new(self.span(), format!("`{}` is missing in {place}", key.info.name));
                let example = format!("{} = {}", key.info.name, key.info.example);
                problems.push(problem.expected(key.info.expected).hint(format!("for example: {example}")));
                None
            }
        }
    }

    /// [`Table::get`] without the place.
    pub fn value<T>(&self, key: &Key<T>, problems: &mut Vec<Problem>) -> Option<T> {
        self.get(key, problems).map(Spanned::into_inner)
    }

    fn report_unknown(&self, problems: &mut Vec<Problem>) {
        let sections = SECTIONS.iter().filter(|s| self.section.name.is_empty() && !s.name.is_empty()).map(|s| s.name);
        let names: Vec<&str> = self.section.keys.iter().map(|info| info.name).chain(sections).collect();
        for (key, _) in self.values.into_iter().flat_map(|values| values.iter()) {
            let given = key.get_ref().as_ref();
            if names.contains(&given) {
                continue;
            }
            let what = if self.section.name.is_empty() { "key or section" } else { "key" };
            let message = format!("unknown {what} `{}`", given.escape_debug());
            let mut problem = Problem::new(key.span(), message);
            if !self.section.name.is_empty() {
                problem.message.push_str(&format!(" in {}", self.section.heading()));
            }
            problem = problem.expected(format!("one of {}", names.join(", ")));
            problems.push(match self.advice(given, &names) {
                Some(advice) => problem.hint(advice),
                None => problem,
            });
        }
    }

    /// The nearest name here; else the section in which the name, or one very like it, is a key.
    fn advice(&self, given: &str, names: &[&str]) -> Option<String> {
        let elsewhere = SECTIONS.iter().find(|section| section.keys.iter().any(|info| info.name == given));
        if let Some(section) = elsewhere {
            return Some(format!("`{given}` belongs to {}", section.heading()));
        }
        nearest(given, names.iter().copied()).map(|near| format!("did you mean `{near}`?"))
    }
}

fn not_a_section(section: &'static Section, span: Range<usize>) -> Problem {
    let message = format!("`{}` is not written as a section", section.name);
    let times = if section.repeated { "any number of times" } else { "once" };
    Problem::new(span, message).expected(format!("{} on a line of its own, {times}", section.heading()))
}
