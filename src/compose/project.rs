//! The files of a project to its services: `include`, `extends`, documents, variables.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::budget::Budget;
use super::error::{Error, Reason};
use super::merge::{merged, without_reset};
use super::named::{Include, extension, folder, kind, local};
use super::reading::Project;
use super::template::Variables;
use super::yaml::{Key, Map, Mark, Node, Place, Value, Wrong, documents};
use super::{Files, Options, Parsed, service};

/// The variable that names the project.
const PROJECT_NAME: &str = "COMPOSE_PROJECT_NAME";
/// The variable that chooses profiles where no flag does.
const PROFILES: &str = "COMPOSE_PROFILES";
/// The variable that names files with variables where no flag does.
const ENV_FILES: &str = "COMPOSE_ENV_FILES";
/// The variable that keeps the usual file with variables from being read.
const NO_ENV_FILE: &str = "COMPOSE_DISABLE_ENV_FILE";

/// Reads a project.
pub(super) fn parse(name: &Path, bytes: &[u8], options: &Options, files: &dyn Files) -> Parsed {
    let mut project = Project {
        files,
        read: Vec::new(),
        budget: Budget::default(),
        unset: BTreeSet::new(),
        errors: Vec::new(),
        bases: BTreeMap::new(),
        scopes: 0,
    };
    let mut parsed = Parsed::default();
    match project.whole(name, bytes, options) {
        Ok(whole) => {
            parsed.warnings = whole.warnings;
            service::entries(
                &project.read,
                &whole.services,
                (options, files),
                &mut parsed,
            );
        }
        Err(wrong) => project.errors.push(project.error(wrong)),
    }
    parsed.warnings.extend(project.unset.iter().map(|name| {
        let name = Reason::shown(name);
        format!("the variable `{name}` is not set, and stands for nothing")
    }));
    // What could not be filled in is no good image either, and that need not be said.
    let place = |error: &Error| (Arc::clone(&error.file), error.line, error.column);
    let told: BTreeSet<_> = project.errors.iter().map(place).collect();
    parsed.errors.retain(|error| !told.contains(&place(error)));
    parsed.errors.splice(0..0, project.errors);
    if !parsed.errors.is_empty() {
        parsed.entries.clear();
    }
    parsed
}

/// The services of a project, and what is decided for all of them.
pub(super) struct Services {
    pub(super) map: Map,
    /// Profiles that are chosen; `*` chooses all.
    pub(super) profiles: Vec<String>,
    /// The name of the project; empty where it has none.
    pub(super) project: String,
}

struct Whole {
    services: Services,
    warnings: Vec<String>,
}

/// What variables and relative paths mean.
struct Scope {
    variables: Variables,
    /// The folder of the project, or of the included one.
    folder: PathBuf,
    /// Tells scopes apart.
    id: usize,
}

/// Services that are found by their names: there may be tens of thousands.
pub(super) struct Table {
    map: Map,
    index: HashMap<String, usize>,
}

impl Table {
    fn of(map: Map) -> Self {
        let names = map.iter().enumerate();
        let index = names.map(|(at, (key, _))| (key.text.clone(), at)).collect();
        Self { map, index }
    }

    fn get(&self, name: &str) -> Option<&Node> {
        let at = self.index.get(name)?;
        self.map.get(*at).map(|(_, node)| node)
    }

    fn push(&mut self, key: Key, node: Node) {
        self.index.insert(key.text.clone(), self.map.len());
        self.map.push((key, node));
    }
}

/// A document and the path of its file.
type Document = (Node, PathBuf);

/// The services among which one is extended.
#[derive(Clone, Copy)]
struct Among<'a> {
    services: &'a Table,
    /// Their file, and the folder that its paths begin at.
    path: &'a Path,
    folder: &'a Path,
}

impl Project<'_> {
    fn whole(&mut self, name: &Path, bytes: &[u8], options: &Options) -> Result<Whole, Wrong> {
        let folder = folder(name);
        let file = self.known(name);
        let text = self.text(file, bytes)?;
        let variables = self.of_project(&folder, options)?;
        let documents = documents(&text, file, &mut self.budget)?;
        let mut scope = Scope {
            variables,
            folder,
            id: self.scopes,
        };
        let project = self.project_name(&documents, &scope, options)?;
        if !project.is_empty() {
            let name = PROJECT_NAME.to_owned();
            scope.variables.insert(name, project.clone());
        }
        let warnings = self.misplaced(&documents);
        let documents = documents.into_iter().map(|node| (node, name.to_owned()));
        let mut chain = vec![self.whole_path(name)];
        let map = self.services(documents.collect(), &scope, &mut chain)?;
        if map.is_empty() && self.errors.is_empty() {
            let place = Place {
                file,
                line: 1,
                column: 1,
            };
            return Err((place, Reason::NoServices));
        }
        let profiles = if options.profiles.is_empty() {
            let chosen = scope.variables.get(PROFILES).map_or("", String::as_str);
            let chosen = chosen.split(',').map(str::trim);
            chosen
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        } else {
            options.profiles.clone()
        };
        let services = Services {
            map,
            profiles,
            project,
        };
        Ok(Whole { services, warnings })
    }

    /// The environment, and what files say beside it: those of flags, of the environment, or the usual one.
    fn of_project(&mut self, folder: &Path, options: &Options) -> Result<Variables, Wrong> {
        let environment = &options.environment;
        let mut named = options.env_files.clone();
        if named.is_empty() {
            let files = environment.get(ENV_FILES).map_or("", String::as_str);
            let files = files.split(',').filter(|file| !file.is_empty());
            named.extend(files.map(PathBuf::from));
        }
        let disabled = environment.get(NO_ENV_FILE).map(|text| text.to_lowercase());
        let is_disabled = disabled.is_some_and(|text| matches!(text.as_str(), "1" | "t" | "true"));
        if named.is_empty() && is_disabled {
            return Ok(environment.clone());
        }
        self.variables(environment, folder, &named)
    }

    /// Keys that mean something in a service, and stand where they mean nothing.
    fn misplaced(&self, documents: &[Node]) -> Vec<String> {
        let keys = documents.iter().filter_map(Node::map).flatten();
        keys.filter(|(key, _)| service::setting(&key.text).is_some())
            .map(|(key, _)| {
                let file = self.read.get(key.place.file).map_or("", |read| &read.name);
                format!(
                    "{file}:{}: `{}` means something in a service only",
                    key.place.line, key.text
                )
            })
            .collect()
    }

    /// What the project is called; empty where nothing names it.
    fn project_name(
        &mut self,
        documents: &[Node],
        scope: &Scope,
        options: &Options,
    ) -> Result<String, Wrong> {
        let given = options.project_name.as_ref();
        let given = given
            .or_else(|| scope.variables.get(PROJECT_NAME))
            .filter(|name| !name.is_empty());
        if let Some(name) = given {
            if normalised(name) != *name {
                return Err((Place::default(), Reason::Project(Reason::shown(name))));
            }
            return Ok(name.clone());
        }
        let named = documents.iter().rev().find_map(|node| node.get("name"));
        if let Some(node) = named {
            let Value::Text(text) = &node.value else {
                return Err(kind(node, "name", "a string"));
            };
            let name = self
                .filled(text, &scope.variables)
                .map_err(|reason| (node.place, reason))?;
            if !name.is_empty() {
                return match normalised(&name) {
                    short if short.is_empty() => {
                        Err((node.place, Reason::Project(Reason::shown(&name))))
                    }
                    short => Ok(short),
                };
            }
        }
        let whole = self.files.absolute(&scope.folder);
        let last = whole.as_deref().and_then(Path::file_name);
        Ok(last.map_or(String::new(), |name| normalised(&name.to_string_lossy())))
    }

    /// The services of documents of one project, one laid over the other.
    fn services(
        &mut self,
        documents: Vec<Document>,
        scope: &Scope,
        chain: &mut Vec<PathBuf>,
    ) -> Result<Map, Wrong> {
        Budget::chain(chain.len()).map_err(|limit| (Place::default(), Reason::Limit(limit)))?;
        let mut whole: Option<Node> = None;
        for (mut node, path) in documents {
            let Value::Map(_) = &node.value else {
                if matches!(node.value, Value::Null) {
                    continue;
                }
                return Err(kind(&node, "the file", "a mapping"));
            };
            self.fill(&mut node, &scope.variables);
            let mut own = take_services(&mut node)?;
            let among = Among {
                services: &Table::of(own.clone()),
                path: &path,
                folder: &scope.folder,
            };
            for (key, service) in &mut own {
                *service = self.extended(&key.text, service, (among, scope), &mut Vec::new())?;
            }
            let included = self.included(&node, scope, chain)?;
            put(&mut node, with_included(included, own)?);
            whole = Some(match whole {
                None => node,
                Some(base) => merged(base, node),
            });
        }
        let Some(mut whole) = whole else {
            return Ok(Vec::new());
        };
        without_reset(&mut whole);
        take_services(&mut whole)
    }

    /// A service with what it extends.
    fn extended(
        &mut self,
        name: &str,
        service: &Node,
        (among, scope): (Among<'_>, &Scope),
        chain: &mut Vec<(PathBuf, String)>,
    ) -> Result<Node, Wrong> {
        self.pay(service)?;
        let mut over = service.clone();
        let Some(extends) = take(&mut over, "extends").filter(|node| node.mark != Mark::Reset)
        else {
            return Ok(over);
        };
        let at = |reason| (extends.place, reason);
        let (base, file) = extension(&extends)?;
        let link = (among.path.to_owned(), name.to_owned());
        if chain.contains(&link) {
            let names: Vec<&str> = chain.iter().map(|(_, name)| name.as_str()).collect();
            return Err(at(Reason::ExtendsCircle(Reason::shown(&names.join(", ")))));
        }
        chain.push(link);
        Budget::chain(chain.len()).map_err(|limit| at(Reason::Limit(limit)))?;
        let missing = || at(Reason::NoBase(Reason::shown(base)));
        let below = match file {
            None => {
                let node = among.services.get(base).ok_or_else(missing)?;
                self.extended(base, node, (among, scope), chain)?
            }
            Some(file) => {
                let path = local(among.folder, file).map_err(at)?;
                let services = self.base(&path, scope, extends.place)?;
                let node = services.get(base).ok_or_else(missing)?;
                let folder = folder(&path);
                let among = Among {
                    services: &services,
                    path: &path,
                    folder: &folder,
                };
                self.extended(base, node, (among, scope), chain)?
            }
        };
        Ok(merged(below, over))
    }

    /// The services of a file that a service of another one extends.
    fn base(&mut self, path: &Path, scope: &Scope, from: Place) -> Result<Rc<Table>, Wrong> {
        let key = (path.to_owned(), scope.id);
        if let Some(known) = self.bases.get(&key) {
            return Ok(Rc::clone(known));
        }
        let (file, text) = self.open(path, from)?;
        let mut whole: Option<Node> = None;
        for mut node in documents(&text, file, &mut self.budget)? {
            self.fill(&mut node, &scope.variables);
            whole = Some(match whole {
                None => node,
                Some(base) => merged(base, node),
            });
        }
        let services = whole.map_or(Ok(Map::new()), |mut whole| take_services(&mut whole))?;
        let table = Rc::new(Table::of(services));
        self.bases.insert(key, Rc::clone(&table));
        Ok(table)
    }

    /// The services that a document includes.
    fn included(
        &mut self,
        node: &Node,
        scope: &Scope,
        chain: &mut Vec<PathBuf>,
    ) -> Result<Map, Wrong> {
        let Some(node) = node.get("include").filter(|node| !node.is_null()) else {
            return Ok(Vec::new());
        };
        let list = node.list().ok_or_else(|| kind(node, "include", "a list"))?;
        let mut all = Vec::new();
        for item in list {
            let at = |reason| (item.place, reason);
            let include = Include::of(item)?;
            let mut paths = Vec::new();
            for path in include.paths {
                paths.push(local(&scope.folder, path).map_err(at)?);
            }
            let Some(first) = paths.first() else {
                return Err(kind(item, "path", "a string or a list of them"));
            };
            let link = self.whole_path(first);
            if chain.contains(&link) {
                return Err(at(Reason::IncludeCircle(Reason::shown(
                    &first.to_string_lossy(),
                ))));
            }
            let inner = include
                .folder
                .map_or_else(|| folder(first), |text| scope.folder.join(text));
            let mut env_files = Vec::new();
            for file in include.env_files {
                env_files.push(local(&scope.folder, file).map_err(at)?);
            }
            self.scopes += 1;
            let inner = Scope {
                variables: self.variables(&scope.variables, &inner, &env_files)?,
                folder: inner,
                id: self.scopes,
            };
            let mut inner_documents = Vec::new();
            for path in paths {
                let (file, text) = self.open(&path, item.place)?;
                let nodes = documents(&text, file, &mut self.budget)?;
                inner_documents.extend(nodes.into_iter().map(|node| (node, path.clone())));
            }
            chain.push(link);
            let map = self.services(inner_documents, &inner, chain)?;
            chain.pop();
            all = with_included(all, map)?;
        }
        Ok(all)
    }
}

/// `own` with services that were included before it.
fn with_included(included: Map, own: Map) -> Result<Map, Wrong> {
    let mut all = Table::of(included);
    for (key, node) in own {
        match all.get(&key.text) {
            None => all.push(key, node),
            Some(other) if other.is_same(&node) => {}
            Some(_) => return Err((key.place, Reason::Conflict(Reason::shown(&key.text)))),
        }
    }
    Ok(all.map)
}

fn take(node: &mut Node, key: &str) -> Option<Node> {
    let Value::Map(map) = &mut node.value else {
        return None;
    };
    let at = map.iter().position(|(other, _)| other.text == key)?;
    Some(map.remove(at).1)
}

fn take_services(node: &mut Node) -> Result<Map, Wrong> {
    let Some(services) = take(node, "services").filter(|node| !node.is_null()) else {
        return Ok(Vec::new());
    };
    let wrong = kind(&services, "services", "a mapping");
    if let Value::Map(map) = services.value {
        Ok(map)
    } else {
        Err(wrong)
    }
}

fn put(node: &mut Node, services: Map) {
    let place = node.place;
    if let Value::Map(map) = &mut node.value {
        let key = Key {
            text: "services".to_owned(),
            place,
        };
        let value = Value::Map(services);
        map.push((
            key,
            Node {
                place,
                mark: Mark::Usual,
                value,
            },
        ));
    }
}

/// The name of a project as compose makes it of a folder's: lower case, without all but letters, digits,
/// `-` and `_`, and beginning with one of the first two.
fn normalised(name: &str) -> String {
    let lower = name.to_lowercase();
    let kept: String = lower
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        .collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}
