//! Variables in texts: `$V`, `${V}`, `${V:-d}`, `${V-d}`, `${V:?e}`, `${V?e}`, `${V:+r}`, `${V+r}`, `$$`.

use std::collections::{BTreeMap, BTreeSet};

use super::budget::Budget;
use super::error::Reason;

/// The variables that are set.
pub(super) type Variables = BTreeMap<String, String>;

/// What filling in texts costs, and what it finds.
pub(super) struct Filling<'a> {
    pub(super) variables: &'a Variables,
    pub(super) budget: &'a mut Budget,
    /// Variables that are asked for without a default, and not set.
    pub(super) unset: &'a mut BTreeSet<String>,
}

impl Filling<'_> {
    /// `text` with its variables filled in.
    ///
    /// A `$` that begins nothing stays, as compose leaves it.
    pub(super) fn fill(&mut self, text: &str) -> Result<String, Reason> {
        self.filled(text, 0)
    }

    fn filled(&mut self, text: &str, depth: usize) -> Result<String, Reason> {
        Budget::chain(depth).map_err(Reason::Limit)?;
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(inside) = after.strip_prefix('{') {
                let (inside, after) = braced(inside).ok_or(Reason::Template)?;
                let value = self.expression(inside, depth)?.ok_or(Reason::Template)?;
                self.budget.text(value.len()).map_err(Reason::Limit)?;
                out.push_str(&value);
                rest = after;
            } else {
                let (name, after) = name(after);
                if name.is_empty() {
                    out.push('$');
                } else {
                    let value = self.value(name);
                    self.budget.text(value.len()).map_err(Reason::Limit)?;
                    out.push_str(&value);
                }
                rest = after;
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&mut self, name: &str) -> String {
        if let Some(value) = self.variables.get(name) {
            return value.clone();
        }
        self.unset.insert(name.to_owned());
        String::new()
    }

    /// What stands in braces; nothing where it is no expression.
    fn expression(&mut self, inside: &str, depth: usize) -> Result<Option<String>, Reason> {
        let (name, rest) = name(inside);
        if name.is_empty() {
            return Ok(None);
        }
        if rest.is_empty() {
            return Ok(Some(self.value(name)));
        }
        let (counts_empty, operator) = match rest.strip_prefix(':') {
            Some(operator) => (false, operator),
            None => (true, rest),
        };
        let mut chars = operator.chars();
        let operator = chars.next();
        let word = chars.as_str();
        let set = self.variables.get(name).cloned();
        let set = set.filter(|value| counts_empty || !value.is_empty());
        match (operator, set) {
            (Some('-'), Some(value)) => {
                // What is wrong in a default is wrong also where nobody needs it.
                self.filled(word, depth + 1)?;
                Ok(Some(value))
            }
            (Some('?'), Some(value)) => Ok(Some(value)),
            (Some('-'), None) | (Some('+'), Some(_)) => self.filled(word, depth + 1).map(Some),
            (Some('+'), None) => Ok(Some(String::new())),
            (Some('?'), None) => Err(Reason::Required {
                name: Reason::shown(name),
                message: Reason::shown(&self.filled(word, depth + 1)?),
            }),
            _ => Ok(None),
        }
    }
}

/// The name at the beginning of `text`, and what follows it.
fn name(text: &str) -> (&str, &str) {
    let is_in = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return ("", text);
    }
    text.split_at(text.find(|c| !is_in(c)).unwrap_or(text.len()))
}

/// What stands before the brace that ends an expression, and what follows it. Only `${` opens another.
fn braced(text: &str) -> Option<(&str, &str)> {
    let mut open = 1_usize;
    let mut last = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if last == '$' => open += 1,
            '}' => {
                open -= 1;
                if open == 0 {
                    return Some((text.get(..at)?, text.get(at + 1..)?));
                }
            }
            _ => {}
        }
        last = c;
    }
    None
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
