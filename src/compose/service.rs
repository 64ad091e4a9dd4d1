//! The services of a project to the entries of a list.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::error::Reason;
use super::named::kind;
use super::project::Services;
use super::reading::{Read, error};
use super::yaml::{Key as Name, Map, Node, Place, Value, Wrong, find};
use super::{Files, Keys, Options, Parsed};
use crate::list;
use crate::list::{Collected, Entry, Fault, Key};
use crate::oci::Reference;
use crate::text;

/// What stands before the names of settings in a service.
const PREFIX: &str = "x-nerdctl-";
/// How much of a service's name messages show, in characters.
const NAME_CHARS_MAX: usize = 100;

/// The setting that a key of a service is.
pub(super) fn setting(key: &str) -> Option<Key> {
    let key = Key::of(key.strip_prefix(PREFIX)?)?;
    (key != Key::Platform).then_some(key)
}

/// Adds the entries of all services that run, and what is wrong with them.
pub(super) fn entries(
    read: &[Read],
    services: &Services,
    (options, files): (&Options, &dyn Files),
    parsed: &mut Parsed,
) {
    let mut running = Vec::new();
    for (name, node) in &services.map {
        match runs(name, node, &services.profiles) {
            Ok(true) => running.push((name, node)),
            Ok(false) => {}
            Err(wrong) => parsed.errors.push(error(read, Some(&name.text), wrong)),
        }
    }
    let names: HashSet<&str> = running.iter().map(|(name, _)| name.text.as_str()).collect();
    let places = services.map.iter().map(|(name, _)| name.place);
    let begins: BTreeSet<_> = places.map(|place| (place.file, place.line)).collect();
    for (name, node) in running {
        let mut service = Service {
            read,
            services,
            name,
            node,
            begins: &begins,
            options,
            files,
            notes: Vec::new(),
        };
        let mut wrong = depends(node, &names);
        match service.entry() {
            Ok(entry) => parsed.entries.push(entry),
            Err(more) => wrong.extend(more),
        }
        parsed.notes.extend(service.notes);
        let errors = wrong
            .into_iter()
            .map(|wrong| error(read, Some(&name.text), wrong));
        parsed.errors.extend(errors);
    }
}

/// Whether a service is in no profile, or in one that is chosen.
fn runs(name: &Name, node: &Node, chosen: &[String]) -> Result<bool, Wrong> {
    let is_in = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.text.is_empty() || !name.text.chars().all(is_in) {
        return Err((name.place, Reason::ServiceName));
    }
    if node.map().is_none() {
        return Err(kind(node, &name.text, "a mapping"));
    }
    let Some(profiles) = node.get("profiles") else {
        return Ok(true);
    };
    let list = profiles
        .list()
        .ok_or_else(|| kind(profiles, "profiles", "a list"))?;
    let mut is_chosen = list.is_empty();
    for profile in list {
        let wrong = || kind(profile, "profiles", "a list of strings");
        let profile = profile.text().ok_or_else(wrong)?;
        is_chosen |= chosen.iter().any(|name| name == "*" || name == profile);
    }
    Ok(is_chosen)
}

/// The services that this one needs and that do not run.
fn depends(node: &Node, running: &HashSet<&str>) -> Vec<Wrong> {
    let missing = |place: Place, name: &str| {
        (!running.contains(name)).then(|| (place, Reason::Depends(Reason::shown(name))))
    };
    let Some(needed) = node.get("depends_on") else {
        return Vec::new();
    };
    if let Some(list) = needed.list() {
        let named = list.iter().filter_map(|node| match node.text() {
            Some(name) => missing(node.place, name),
            None => Some(kind(node, "depends_on", "a list of services")),
        });
        return named.collect();
    }
    let is_required = |how: &Node| match how.get("required").map(|node| &node.value) {
        Some(Value::Other(text)) => !text.eq_ignore_ascii_case("false"),
        Some(Value::Null | Value::Text(_) | Value::List(_) | Value::Map(_)) | None => true,
    };
    let map = needed.map().into_iter().flatten();
    map.filter(|(_, how)| is_required(how))
        .filter_map(|(name, _)| missing(name.place, &name.text))
        .collect()
}

struct Service<'a> {
    read: &'a [Read],
    services: &'a Services,
    name: &'a Name,
    node: &'a Node,
    /// Where services begin: files and lines.
    begins: &'a BTreeSet<(usize, usize)>,
    options: &'a Options,
    files: &'a dyn Files,
    notes: Vec<String>,
}

impl Service<'_> {
    /// Its entry, or all that is wrong with it.
    fn entry(&mut self) -> Result<Entry, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let collected = self.collected(&mut wrong);
        let image = self.image().map_err(|error| wrong.push(error)).ok();
        let at = self.name.place;
        let settings = match collected.settings() {
            Ok(settings) => settings,
            Err(fault) => {
                if wrong.is_empty() {
                    wrong.push(self.fault(at, &fault));
                }
                return Err(wrong);
            }
        };
        let Some((image, line)) = image.filter(|_| wrong.is_empty()) else {
            return Err(wrong);
        };
        let file = self.read.get(at.file).map(|read| Arc::clone(&read.name));
        let file = file.unwrap_or_else(|| Arc::from("-"));
        let mut entry = list::line(&file, line, &format!("{image}{settings}"))
            .map_err(|error| vec![(at, Reason::Line(error.reason))])?;
        let name = text::cleaned(&self.name.text, NAME_CHARS_MAX);
        entry.line.service = Some(Arc::from(name));
        Ok(entry)
    }

    fn fault(&self, place: Place, fault: &Fault) -> Wrong {
        let place = find(self.map(), &format!("{PREFIX}{}", fault.key.name()))
            .map_or(place, |(key, _)| key.place);
        (
            place,
            Reason::Setting(text::cleaned(&fault.told(PREFIX), 400)),
        )
    }

    fn map(&self) -> &Map {
        const EMPTY: &Map = &Vec::new();
        self.node.map().unwrap_or(EMPTY)
    }

    /// The image, and the line that it is reported by.
    fn image(&self) -> Result<(String, usize), Wrong> {
        let own = self.name.place;
        let build = find(self.map(), "build").map(|(_, node)| node);
        if let Some(node) = build.filter(|node| node.text().is_none() && node.map().is_none()) {
            return Err(kind(node, "build", "a string or a mapping"));
        }
        let image = find(self.map(), "image");
        if let Some((_, node)) = image.filter(|(_, node)| node.text().is_none()) {
            return Err(kind(node, "image", "a string"));
        }
        let image = image.and_then(|(key, node)| Some((key, node, node.text()?)));
        let (name, place, line) = match image.filter(|(_, _, text)| !text.is_empty()) {
            Some((key, node, image)) => (image.to_owned(), node.place, self.line(key.place)),
            None if build.is_none() => return Err((own, Reason::NoImage)),
            None if self.services.project.is_empty() => return Err((own, Reason::NoProject)),
            None => {
                let image = format!("{}-{}", self.services.project, self.name.text);
                (image, own, own.line)
            }
        };
        if name.contains(char::is_whitespace) {
            return Err((place, Reason::Blanks(Reason::shown(&name))));
        }
        match name.parse::<Reference>() {
            Ok(_) => Ok((name, line)),
            Err(error) => Err((place, Reason::Image(error))),
        }
    }

    /// The line of `image` where it is written in this service, else that of the service: an image that
    /// comes from elsewhere may be that of several.
    fn line(&self, image: Place) -> usize {
        let own = self.name.place;
        let after = (own.file, own.line + 1)..(own.file, usize::MAX);
        let end = self
            .begins
            .range(after)
            .next()
            .map_or(usize::MAX, |(_, line)| *line);
        let is_own = image.file == own.file && image.line >= own.line && image.line < end;
        if is_own { image.line } else { own.line }
    }

    /// Its settings, by themselves.
    fn collected(&mut self, wrong: &mut Vec<Wrong>) -> Collected {
        let mut collected = Collected::default();
        if let Some((_, node)) = find(self.map(), "platform") {
            match node.text() {
                Some("") => {}
                Some(text) => {
                    if let Err(fault) = collected.add(Key::Platform, &platform(text)) {
                        wrong.push((node.place, Reason::Setting(fault.told(PREFIX))));
                    }
                }
                None => wrong.push(kind(node, "platform", "a string")),
            }
        }
        for (name, node) in self.map().clone() {
            let Some(key) = setting(&name.text) else {
                if is_typo(&name.text) {
                    wrong.push((name.place, Reason::Typo(Reason::shown(&name.text))));
                }
                continue;
            };
            let Value::Text(value) = &node.value else {
                wrong.push(kind(&node, &name.text, "a string"));
                continue;
            };
            if let Err(reason) = self.add(&mut collected, (key, value), node.place) {
                wrong.push((node.place, reason));
            }
        }
        collected
    }

    fn add(
        &mut self,
        collected: &mut Collected,
        (key, value): (Key, &str),
        place: Place,
    ) -> Result<(), Reason> {
        let told = |fault: Fault| Reason::Setting(text::cleaned(&fault.told(PREFIX), 400));
        if !key.is_path() {
            return collected.add(key, value).map_err(told);
        }
        // As it is written first: what is wrong with it is not that there is no such file.
        Collected::default().add(key, value).map_err(told)?;
        let path = self.key(key, value, place)?;
        collected.add(key, &path).map_err(told)
    }

    /// The path of a key: from the working directory, as nerdctl takes it, else from the folder of the
    /// file that names it.
    fn key(&mut self, key: Key, value: &str, place: Place) -> Result<String, Reason> {
        let folder = self
            .read
            .get(place.file)
            .map_or(Path::new(""), |read| &read.folder);
        let beside = folder.join(value);
        let found = if self.files.is_file(Path::new(value)) {
            value.to_owned()
        } else if self.files.is_file(&beside) {
            match beside.to_str() {
                Some(path) => path.to_owned(),
                None => return Err(Reason::NoKey("its path is not UTF-8".to_owned())),
            }
        } else if self.is_needed(key) {
            let tried = Reason::shown(value);
            let beside = Reason::shown(&beside.to_string_lossy());
            let also = if tried == beside {
                String::new()
            } else {
                format!(" nor `{beside}`")
            };
            return Err(Reason::NoKey(format!(
                "`{PREFIX}{}`: there is no file `{tried}`{also}",
                key.name()
            )));
        } else {
            return Ok(value.to_owned());
        };
        self.notes.push(format!(
            "service `{}`: the key of `{PREFIX}{}` is `{}`",
            self.name.text,
            key.name(),
            Reason::shown(&found)
        ));
        Ok(found)
    }

    const fn is_needed(&self, key: Key) -> bool {
        match self.options.keys {
            Keys::All => true,
            Keys::Public => matches!(key, Key::PublicKey),
            Keys::Private => matches!(key, Key::PrivateKey),
        }
    }
}

/// A platform as it is written; an architecture alone is one of Linux, as containerd reads it there.
fn platform(text: &str) -> String {
    const ARCHITECTURES: [&str; 12] = [
        "386", "aarch64", "amd64", "arm", "arm64", "armhf", "i386", "ppc64le", "riscv64", "s390x",
        "x86-64", "x86_64",
    ];
    if ARCHITECTURES.contains(&text) {
        format!("linux/{text}")
    } else {
        text.to_owned()
    }
}

/// The most letters by which a mistyped key may differ from one that is meant.
const TYPO_MAX: usize = 2;

/// Whether a key that is no setting looks as if it should be one.
fn is_typo(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('_', "-");
    let is_ours = |key: &str| {
        ["verify", "sign", "cosign"]
            .iter()
            .any(|word| key.starts_with(word))
    };
    if key.strip_prefix(PREFIX).is_some_and(is_ours) || key.starts_with("nerdctl-") {
        return true;
    }
    Key::ALL
        .into_iter()
        .filter(|other| *other != Key::Platform)
        .any(|other| {
            let name = format!("{PREFIX}{}", other.name());
            key.len().abs_diff(name.len()) <= TYPO_MAX && distance(&key, &name) <= TYPO_MAX
        })
}

/// By how many letters two words differ: letters more, less, or others.
fn distance(one: &str, two: &str) -> usize {
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (at, a) in one.bytes().enumerate() {
        let mut corner = at;
        let mut left = at + 1;
        let mut next = vec![left];
        for (b, above) in two.bytes().zip(row.iter().skip(1)) {
            left = (left + 1).min(above + 1).min(corner + usize::from(a != b));
            corner = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
