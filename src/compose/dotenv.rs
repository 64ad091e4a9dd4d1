//! Files with variables (`.env`), as compose reads them.

use super::error::Reason;
use super::template::{Filling, Variables};

/// What is wrong, and in which line.
type Wrong = (usize, Reason);

/// All variables of a file: what is set already counts more than what it says, and what files before it
/// said (`earlier`) counts more where its own values name a variable.
pub(super) fn parse(
    text: &str,
    earlier: &Variables,
    filling: &mut Filling<'_>,
) -> Result<Variables, Wrong> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n");
    let mut file = File {
        rest: &text,
        counted: &text,
        line: 1,
    };
    let set = filling.variables;
    let mut all = earlier.clone();
    all.extend(
        set.iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    let mut found = Variables::new();
    while let Some(line) = file.statement() {
        let wrong = |reason| (line, reason);
        let (name, has_value) = file.name().map_err(|why| wrong(Reason::Dotenv(why)))?;
        if !has_value {
            if let Some(value) = set.get(&name) {
                found.insert(name, value.clone());
            }
            continue;
        }
        let raw = file.value().map_err(|why| wrong(Reason::Dotenv(why)))?;
        let value = match raw {
            Raw::Plain(value) => value,
            Raw::Template(template) => Filling {
                variables: &all,
                budget: filling.budget,
                unset: filling.unset,
            }
            .fill(&template)
            .map_err(wrong)?,
        };
        let value = set.get(&name).cloned().unwrap_or(value);
        filling
            .budget
            .text(value.len())
            .map_err(|limit| wrong(Reason::Limit(limit)))?;
        if !earlier.contains_key(&name) {
            all.insert(name.clone(), value.clone());
        }
        found.insert(name, value);
    }
    Ok(found)
}

/// A value as it is written.
enum Raw {
    Plain(String),
    Template(String),
}

struct File<'a> {
    rest: &'a str,
    /// What was there when lines were counted last: it ends where `rest` does.
    counted: &'a str,
    /// In which line that begins.
    line: usize,
}

impl<'a> File<'a> {
    /// Goes to the next statement, and says in which line it is.
    fn statement(&mut self) -> Option<usize> {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() {
                return None;
            }
            if !self.rest.starts_with('#') {
                let passed = self.counted.len() - self.rest.len();
                let passed = self.counted.get(..passed).unwrap_or_default();
                self.line += passed.matches('\n').count();
                self.counted = self.rest;
                return Some(self.line);
            }
            self.take_line();
        }
    }

    fn take_line(&mut self) -> &'a str {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        line
    }

    /// The name at the beginning of a statement, and whether a value follows.
    fn name(&mut self) -> Result<(String, bool), &'static str> {
        if let Some(rest) = self.rest.strip_prefix("export")
            && rest.starts_with([' ', '\t'])
        {
            self.rest = rest.trim_start_matches([' ', '\t']);
        }
        let end = self.rest.find(['=', ':', '\n']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let has_value = rest.starts_with(['=', ':']);
        self.rest = rest.get(1..).unwrap_or_default();
        let name = name.trim_end();
        let is_in = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
        if name.is_empty() {
            return Err("a value without a name");
        }
        if name.contains(char::is_whitespace) {
            return Err("a name with a blank");
        }
        if !name.chars().all(is_in) {
            return Err("a character that no name has");
        }
        Ok((name.to_owned(), has_value))
    }

    fn value(&mut self) -> Result<Raw, &'static str> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r']);
        if let Some(quote @ ('"' | '\'')) = self.rest.chars().next() {
            return self.quoted(quote);
        }
        let line = self.take_line();
        let line = line.split_once(" #").map_or(line, |(value, _)| value);
        Ok(Raw::Template(line.trim_end().to_owned()))
    }

    fn quoted(&mut self, quote: char) -> Result<Raw, &'static str> {
        let mut value = String::new();
        let mut chars = self.rest.chars();
        chars.next();
        loop {
            match chars.next() {
                None => return Err("a quote that does not end"),
                Some(c) if c == quote => break,
                Some('\\') if quote == '"' => match chars.next() {
                    Some('n') => value.push('\n'),
                    Some('r') => value.push('\r'),
                    Some('t') => value.push('\t'),
                    // A template is made of it, in which a `$` that means itself is doubled.
                    Some('$') => value.push_str("$$"),
                    Some(c) if c.is_alphanumeric() => value.extend(['\\', c]),
                    Some(c) => value.push(c),
                    None => return Err("a quote that does not end"),
                },
                Some('\\') if chars.as_str().starts_with('\'') => {
                    value.push('\'');
                    chars.next();
                }
                Some(c) => value.push(c),
            }
        }
        self.rest = chars.as_str();
        let behind = self.take_line().trim();
        if !behind.is_empty() && !behind.starts_with('#') {
            return Err("something stands behind the closing quote");
        }
        Ok(if quote == '"' {
            Raw::Template(value)
        } else {
            Raw::Plain(value)
        })
    }
}

#[cfg(test)]
#[path = "dotenv_tests.rs"]
mod tests;
