//! One file of `registries.conf`: TOML to tables that make sense, or what is wrong and in which line.
//!
//! The text itself is not repeated in an error: it may have proxies with passwords in it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cli::error::Error;
use crate::oci::{Reference, Registry};
use crate::registry::Tls;

use super::prefix::Prefix;
use super::{Alias, Entry, Mirror, Serves};

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) entries: BTreeMap<Prefix, Entry>,
    pub(super) aliases: BTreeMap<String, Option<Alias>>,
}

/// The file as it is written. Keys without a meaning here are read only because their type is checked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    #[serde(default)]
    registry: Vec<Spanned<Table>>,
    #[serde(default)]
    aliases: BTreeMap<String, Spanned<String>>,
    /// Version 1.
    #[serde(default)]
    registries: Old,
    #[serde(rename = "unqualified-search-registries")]
    _search: Option<Vec<String>>,
    #[serde(rename = "credential-helpers")]
    _helpers: Option<Vec<String>>,
    #[serde(rename = "short-name-mode")]
    _mode: Option<String>,
    #[serde(rename = "additional-layer-store-auth-helper")]
    _store_helper: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::struct_excessive_bools, reason = "the file has them")]
struct Table {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    pull_from_mirror: String,
    proxy: Option<IgnoredAny>,
    #[serde(default)]
    mirror: Vec<MirrorTable>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: String,
    proxy: Option<IgnoredAny>,
}

/// The tables of version 1.
#[derive(Debug, Default, Deserialize)]
struct Old {
    #[serde(default)]
    search: OldList,
    #[serde(default)]
    insecure: OldList,
    #[serde(default)]
    block: OldList,
}

#[derive(Debug, Default, Deserialize)]
struct OldList {
    #[serde(default)]
    registries: Vec<IgnoredAny>,
}

impl Old {
    /// Whether it says anything: distributions left empty tables behind.
    const fn is_empty(&self) -> bool {
        self.search.registries.is_empty()
            && self.insecure.registries.is_empty()
            && self.block.registries.is_empty()
    }
}

/// Where something stands in a file.
struct At<'a> {
    file: &'a Arc<Path>,
    text: &'a str,
}

impl At<'_> {
    /// An error in the line of this byte.
    fn error(&self, byte: Option<usize>, why: &str) -> Error {
        let file = self.file.display();
        let before = byte.and_then(|byte| self.text.get(..byte));
        Error::refused(&match before {
            Some(before) => {
                let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
                format!("`{file}`, line {line}: {why}")
            }
            None => format!("`{file}`: {why}"),
        })
    }
}

/// Reads a file.
pub(super) fn parse(file: &Arc<Path>, bytes: &[u8]) -> Result<Parsed, Error> {
    let not_text = || Error::refused(&format!("`{}` is not UTF-8", file.display()));
    let text = std::str::from_utf8(bytes).map_err(|_| not_text())?;
    let at = At { file, text };
    let document = document(&at)?;
    if !document.registries.is_empty() {
        let what = "it is of version 1 of the format, which is no longer read";
        return Err(at.error(None, what).with_hint(
            "write it with `[[registry]]` tables; containers-registries.conf(5) describes them",
        ));
    }
    let mut parsed = Parsed::default();
    let mut by_location: BTreeMap<String, (bool, bool)> = BTreeMap::new();
    for table in document.registry {
        let byte = table.span().start;
        let (prefix, entry) =
            entry(file, table.get_ref()).map_err(|why| at.error(Some(byte), &why))?;
        let settings = (entry.tls.is_some(), entry.is_blocked);
        let location = entry.location.as_deref().unwrap_or(prefix.as_str());
        let first = by_location.entry(location.to_owned()).or_insert(settings);
        if *first != settings {
            let why = format!(
                "`{location}` stands in several tables that do not agree whether it is insecure or blocked"
            );
            return Err(at.error(Some(byte), &why));
        }
        // In one file the first counts, as in containers/image.
        parsed.entries.entry(prefix).or_insert(entry);
    }
    for (name, value) in document.aliases {
        let byte = value.span().start;
        let alias = alias(file, &name, value.get_ref());
        let alias = alias.map_err(|why| at.error(Some(byte), &why))?;
        parsed.aliases.insert(name, alias);
    }
    Ok(parsed)
}

/// Reads TOML. Keys count in upper and lower case alike, as containers/image takes them.
fn document(at: &At<'_>) -> Result<Document, Error> {
    let failed = |error: toml::de::Error| {
        at.error(
            error.span().map(|span| span.start),
            &unquoted(error.message()),
        )
    };
    let table = DeTable::parse(at.text).map_err(failed)?;
    let span = table.span();
    let table = lower(table.into_inner()).map_err(|key| {
        let why = format!("`{}` stands twice", key.get_ref());
        at.error(Some(key.span().start), &why)
    })?;
    let table = toml::Deserializer::from(Spanned::new(span, table));
    Document::deserialize(table).map_err(failed)
}

/// What a parser says, without the text of the file that it quotes where another type is wanted.
fn unquoted(message: &str) -> String {
    let Some((what, quoted)) = message.split_once(": string \"") else {
        return message.to_owned();
    };
    match quoted.rsplit_once("\", expected ") {
        Some((_, wanted)) => format!("{what}: a string, expected {wanted}"),
        None => what.to_owned(),
    }
}

/// The table with its keys in lower case, and those of all tables in it; or a key that stands twice.
fn lower(table: DeTable<'_>) -> Result<DeTable<'_>, Spanned<String>> {
    let mut lowered = DeTable::new();
    for (key, mut value) in table {
        let name = key.get_ref().to_ascii_lowercase();
        // The keys of this one are names.
        if name != "aliases" {
            lower_below(value.get_mut())?;
        }
        let span = key.span();
        let twin = Spanned::new(span.clone(), Cow::Owned(name.clone()));
        if lowered.insert(twin, value).is_some() {
            return Err(Spanned::new(span, name));
        }
    }
    Ok(lowered)
}

fn lower_below(value: &mut DeValue<'_>) -> Result<(), Spanned<String>> {
    match value {
        DeValue::Table(table) => *table = lower(mem::take(table))?,
        DeValue::Array(values) => {
            for value in values.iter_mut() {
                lower_below(value.get_mut())?;
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
    Ok(())
}

fn entry(file: &Arc<Path>, table: &Table) -> Result<(Prefix, Entry), String> {
    let location = location(&table.location)?;
    let prefix = match self::location(&table.prefix)? {
        Some(prefix) => Prefix::new(&prefix),
        None => Prefix::new(
            location
                .as_deref()
                .ok_or("it has neither `prefix` nor `location`")?,
        ),
    };
    if prefix.is_wildcard() {
        if prefix.as_str().contains(['/', ':', '@']) {
            return Err(format!(
                "`{prefix}`: a wildcard is `*.` and a domain, without port and path"
            ));
        }
    } else {
        if location.is_none() {
            return Err(format!("`{prefix}` has no `location`"));
        }
        let host = prefix.as_str().split('/').next().unwrap_or_default();
        if host.parse::<Registry>().is_err() {
            tracing::warn!(
                file = %file.display(), %prefix,
                "fits no name: a prefix begins with a host, or with `*.` and a domain"
            );
        }
    }
    if !table.pull_from_mirror.is_empty() {
        return Err(format!(
            "`{prefix}`: `pull-from-mirror` belongs into `[[registry.mirror]]`"
        ));
    }
    let by_digest = table.mirror_by_digest_only;
    let mirrors: Result<Vec<Mirror>, String> = table
        .mirror
        .iter()
        .map(|table| mirror(table, by_digest).map_err(|why| format!("`{prefix}`: {why}")))
        .collect();
    let entry = Entry {
        file: Arc::clone(file),
        location,
        tls: table.insecure.then_some(Tls::Unverified),
        is_blocked: table.blocked,
        has_proxy: table.proxy.is_some(),
        mirrors: mirrors?,
    };
    Ok((prefix, entry))
}

fn mirror(table: &MirrorTable, by_digest: bool) -> Result<Mirror, String> {
    let location = location(&table.location)?.ok_or("a mirror has no `location`")?;
    let serves = match table.pull_from_mirror.as_str() {
        "" if by_digest => Serves::Digests,
        _ if by_digest => {
            return Err(format!(
                "`mirror-by-digest-only` and the `pull-from-mirror` of `{location}` exclude each other"
            ));
        }
        "" | "all" => Serves::All,
        "digest-only" => Serves::Digests,
        "tag-only" => Serves::Tags,
        _ => {
            return Err(format!(
                "the `pull-from-mirror` of `{location}` is none of `all`, `digest-only`, `tag-only`"
            ));
        }
    };
    Ok(Mirror {
        location,
        tls: table.insecure.then_some(Tls::Unverified),
        has_proxy: table.proxy.is_some(),
        serves,
    })
}

/// A location or prefix without the slashes at its end.
fn location(text: &str) -> Result<Option<String>, String> {
    let trimmed = text.trim_end_matches('/');
    if trimmed.contains("://") {
        return Err("a location or prefix has no scheme (`https://`) in front".to_owned());
    }
    Ok((!trimmed.is_empty()).then(|| trimmed.to_owned()))
}

/// Reads one alias; nothing for one that is taken back.
fn alias(file: &Arc<Path>, name: &str, value: &str) -> Result<Option<Alias>, String> {
    let is_alone = |reference: &Reference| reference.tag.is_none() && reference.digest.is_none();
    let short: Result<Reference, _> = name.parse();
    if Reference::names_registry(name) || !short.as_ref().is_ok_and(is_alone) {
        return Err(format!(
            "the alias `{name}` is no short name: it has no registry, tag or digest"
        ));
    }
    if value.is_empty() {
        return Ok(None);
    }
    let full: Result<Reference, _> = value.parse();
    match full {
        Ok(full) if Reference::names_registry(value) && is_alone(&full) => Ok(Some(Alias {
            repository: full.repository,
            file: Arc::clone(file),
        })),
        _ => Err(format!(
            "the alias `{name}` does not mean a repository with its registry, without tag and digest"
        )),
    }
}
