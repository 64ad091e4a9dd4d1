//! Scripts of faults, and what was asked, as tables.
//!
//! ```text
//! # method  path                   which  fault
//! GET       /v2/*/blobs/*          1      cut after 70000
//! PUT       /v2/*/manifests/*      1-2    503 retry-after 1
//! HEAD      *                      3-     429 retry-after "Wed, 21 Oct 2099 07:28:00 GMT"
//! PUT       /v2/*/blobs/uploads/*  1      cut request after 300000
//! ```
//!
//! Columns are parted by blanks, what has blanks in it stands between double quotes; `#` begins a line
//! that is for people. Method and path are those of [`super::when`]; *which* of the requests that fit are
//! meant is `*`, `N`, `N-M` or `N-`. The faults are, in the words of [`When`]:
//!
//! | Fault | What it is |
//! | --- | --- |
//! | `STATUS [early] [error CODE] [body TEXT] [HEADER VALUE]…` | answers so |
//! | `redirect URL` | answers 307 |
//! | `answer STATUS` | does it, then answers so |
//! | `lose answer`, `hang up` | closes the connection, after or before doing it |
//! | `cut after N`, `stall after N` | the body of the answer ends, or stops |
//! | `cut request after N`, `stall request after N` | the same of the request's |
//! | `stall`, `delay TIME` | waits before anything else |
//! | `trickle N every TIME` | the body of the answer comes in such pieces |
//! | `corrupt at N`, `length BY` | one byte is another one, the length is said wrong |
//! | `set HEADER VALUE`, `drop HEADER`, `ignore HEADER` | headers of the answer; of the request |
//!
//! What was asked is a table with the same first columns, where *which* is how many (`*`, `N`, `N-M`, `N-`)
//! and what follows are facts, all of which must hold:
//!
//! ```text
//! # method  path                 how many  facts
//! GET       */blobs/sha256:*     1         200 from 0 as Basic
//! GET       */blobs/sha256:*     1         206 from 70000 as Basic
//! PUT       */blobs/uploads/*    1         201 received 100000 as nobody
//! PUT       */manifests/*        *
//! ```
//!
//! Each request belongs to the first line that it fits and that has room; one that fits none is too much.
//! Lines of the same method and path are in order: after a later one has begun, nothing is an earlier one's.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::TestRegistry;
use super::log::Logged;
use super::rules::{Active, Rule, When, when};

impl TestRegistry {
    /// Adds the faults of a script, see the module's table, and gives them in the order of its lines.
    #[track_caller]
    pub(crate) fn script(&self, text: &str) -> Vec<Active> {
        self.try_script(text).unwrap_or_else(|bad| panic!("{bad}"))
    }

    /// The same, or what is wrong with the script.
    pub(crate) fn try_script(&self, text: &str) -> Result<Vec<Active>, String> {
        let rules = rules(text)?;
        Ok(rules.into_iter().map(|rule| self.rule(rule)).collect())
    }

    /// Checks that it was asked what a table says, and nothing else: see the module's table.
    #[track_caller]
    pub(crate) fn asked(&self, table: &str) {
        if let Err(difference) = self.compare(table) {
            panic!("{difference}\nof\n{}", self.log_text());
        }
    }

    /// The first difference between a table and what it was asked.
    pub(crate) fn compare(&self, table: &str) -> Result<(), String> {
        compare(table, &self.log())
    }
}

/// The words of a line, quotes undone.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// The lines of a table that are for the machine.
fn lines(table: &str) -> impl Iterator<Item = &str> {
    let lines = table.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// `*`, `N`, `N-M`, `N-`; all is from `lowest`.
fn range(text: &str, lowest: usize) -> Option<RangeInclusive<usize>> {
    if text == "*" {
        return Some(lowest..=usize::MAX);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first = first.parse().ok()?;
    let last = match last {
        "" => usize::MAX,
        last => last.parse().ok()?,
    };
    (first <= last).then_some(first..=last)
}

/// `20ms`, `3s`.
fn time(text: &str) -> Option<Duration> {
    if let Some(number) = text.strip_suffix("ms") {
        return Some(Duration::from_millis(number.parse().ok()?));
    }
    Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?))
}

/// The rules of a script.
fn rules(text: &str) -> Result<Vec<Rule>, String> {
    let rule = |line| rule(line).ok_or_else(|| format!("no fault: {line}"));
    lines(text).map(rule).collect()
}

fn rule(line: &str) -> Option<Rule> {
    let words = words(line);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (&[method, path, which], fault) = words.split_first_chunk()?;
    let which = range(which, 1)?;
    fault_of(
        when(method, path).between(*which.start(), *which.end()),
        fault,
    )
}

fn fault_of(when: When, fault: &[&str]) -> Option<Rule> {
    Some(match *fault {
        ["redirect", to] => when.redirect(to),
        ["answer", status] => when.answer_with(status.parse().ok()?),
        ["lose", "answer"] => when.lose_answer(),
        ["hang", "up"] => when.hang_up(),
        ["cut", "after", bytes] => when.cut_body_after(bytes.parse().ok()?),
        ["stall", "after", bytes] => when.stall_body_after(bytes.parse().ok()?),
        ["cut", "request", "after", bytes] => when.cut_request_after(bytes.parse().ok()?),
        ["stall", "request", "after", bytes] => when.stall_request_after(bytes.parse().ok()?),
        ["stall"] => when.stall(),
        ["delay", pause] => when.delay(time(pause)?),
        ["trickle", bytes, "every", pause] => when.trickle(bytes.parse().ok()?, time(pause)?),
        ["corrupt", "at", offset] => when.corrupt_body_at(offset.parse().ok()?),
        ["length", by] => when.wrong_length(by.parse().ok()?),
        ["set", name, value] => when.set_header(name, value),
        ["drop", name] => when.drop_header(name),
        ["ignore", name] => when.ignore_header(name),
        [status, ref more @ ..] => return answer(when.respond(status.parse().ok()?), more),
        [] => return None,
    })
}

fn answer(rule: Rule, more: &[&str]) -> Option<Rule> {
    Some(match *more {
        [] => rule,
        ["early", ref more @ ..] => return answer(rule.early(), more),
        ["error", code, ref more @ ..] => return answer(rule.error(code), more),
        ["body", text, ref more @ ..] => return answer(rule.body(text.to_owned()), more),
        [name, value, ref more @ ..] => return answer(rule.header(name, value), more),
        [_] => return None,
    })
}

/// A line of what was asked.
struct Expected<'a> {
    line: &'a str,
    method: String,
    path: String,
    count: RangeInclusive<usize>,
    facts: Vec<String>,
    seen: usize,
}

impl<'a> Expected<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut words = words(line).into_iter();
        Some(Self {
            line,
            method: words.next()?,
            path: words.next()?,
            count: range(&words.next()?, 0)?,
            facts: words.collect(),
            seen: 0,
        })
    }

    fn fits(&self, request: &Logged) -> Result<bool, String> {
        let facts: Vec<&str> = self.facts.iter().map(String::as_str).collect();
        let hold = facts_hold(&facts, request).ok_or_else(|| format!("no fact: {}", self.line))?;
        let has_room = self.seen < *self.count.end();
        Ok(hold && has_room && request.is(&self.method, &self.path))
    }
}

fn facts_hold(facts: &[&str], request: &Logged) -> Option<bool> {
    let (holds, rest) = match *facts {
        [] => return Some(true),
        ["nothing", ref rest @ ..] => (request.status.is_none(), rest),
        ["from", byte, ref rest @ ..] => {
            let byte: u64 = byte.parse().ok()?;
            (request.first_byte() == Some(byte), rest)
        }
        ["later", ref rest @ ..] => (request.first_byte() > Some(0), rest),
        ["as", "nobody", ref rest @ ..] => (request.scheme().is_empty(), rest),
        ["as", scheme, ref rest @ ..] => (request.scheme() == scheme, rest),
        ["received", bytes, ref rest @ ..] => {
            let bytes: u64 = bytes.parse().ok()?;
            (request.received == bytes, rest)
        }
        [status, ref rest @ ..] => {
            let status: u16 = status.parse().ok()?;
            (request.status == Some(status), rest)
        }
    };
    Some(facts_hold(rest, request)? && holds)
}

/// Compares what was asked with a table, and says the first difference.
fn compare(table: &str, log: &[Logged]) -> Result<(), String> {
    let read = |line| Expected::read(line).ok_or_else(|| format!("no line: {line}"));
    let mut expected: Vec<Expected<'_>> = lines(table).map(read).collect::<Result<_, _>>()?;
    for request in log {
        let fits: Vec<bool> = expected
            .iter()
            .map(|line| line.fits(request))
            .collect::<Result<_, _>>()?;
        let Some(at) = fits.iter().position(|fits| *fits) else {
            return Err(format!("this was not to be asked: {request}"));
        };
        expected[at].seen += 1;
        let (before, rest) = expected.split_at_mut(at);
        let now = &rest[0];
        for earlier in before {
            if (&earlier.method, &earlier.path) == (&now.method, &now.path) {
                let count = earlier.count.clone();
                earlier.count = *count.start()..=earlier.seen.min(*count.end());
                if earlier.seen < *count.start() {
                    return Err(format!("this came before `{}`: {request}", earlier.line));
                }
            }
        }
    }
    for line in expected {
        if line.seen < *line.count.start() {
            return Err(format!("this was asked {} times: {}", line.seen, line.line));
        }
    }
    Ok(())
}
