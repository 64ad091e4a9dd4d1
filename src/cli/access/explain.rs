//! `consign auth explain`: every place where a credential may be, in order, and which one answers. The
//! user is shown, the secret never.

use serde_json::{Value, json};

use crate::cli::args::{ExplainArgs, Output};
use crate::cli::error::Error;
use crate::cli::{Environment, print};
use crate::oci::Namespace;
use crate::registry::Credential;
use crate::text::cleaned;

use super::given::Given;
use super::search::{Answer, Kind, Place, Search};
use super::way;

/// The longest text from a file that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 400;

/// `consign auth explain`: prints where the credential of a registry or repository comes from.
///
/// # Errors
///
/// Those that a run would have: a place that has to be there and is not, or is broken. What comes after
/// it is looked at all the same, and everything is printed before.
pub(in crate::cli) async fn explain(
    args: &ExplainArgs,
    given: &Given,
    environment: &Environment,
) -> Result<u8, Error> {
    let (mut sections, mut failed) = sections(&args.registry, given, environment).await;
    match way::parts(&args.registry, &args.access, environment) {
        Ok((parts, wrong)) => {
            sections.extend(parts.into_iter().map(|part| Section {
                name: part.name,
                json: part.json,
                text: part.text,
            }));
            failed = failed.or(wrong);
        }
        Err(error) => failed = failed.or(Some(error)),
    }
    let shown = match args.output {
        Output::Text => sections.into_iter().map(|section| section.text).collect(),
        Output::Json => {
            let fields = sections.into_iter();
            let fields = fields.map(|section| (section.name.to_owned(), section.json));
            let mut document = json!({ "registry": args.registry.to_string() });
            if let Some(document) = document.as_object_mut() {
                document.extend(fields);
            }
            format!("{document:#}\n")
        }
    };
    print(&shown)?;
    failed.map_or(Ok(0), Err)
}

/// The part of the explanation that is about credentials.
pub(super) async fn credentials_text(
    asked: &Namespace,
    given: &Given,
    environment: &Environment,
) -> String {
    let (sections, _) = sections(asked, given, environment).await;
    let credentials = sections.into_iter().next();
    credentials.map(|section| section.text).unwrap_or_default()
}

/// One subject of the explanation.
struct Section {
    /// The field in JSON.
    name: &'static str,
    json: Value,
    /// Whole lines.
    text: String,
}

/// All that is explained, in order, and the error that a run would end with.
async fn sections(
    asked: &Namespace,
    given: &Given,
    environment: &Environment,
) -> (Vec<Section>, Option<Error>) {
    let search = Search::new(given, environment);
    let (steps, failed) = steps(&search, asked).await;
    let answer = steps.iter().find_map(|step| match &step.state {
        State::Answers(answer) => Some(&**answer),
        State::NotThere | State::Nothing | State::Later(_) | State::Broken(_) => None,
    });
    let end = match (answer, &failed) {
        (Some(answer), _) => format!("`{}` is asked with {}", answer.namespace, who(answer)),
        (None, None) => format!("`{asked}` is asked without a credential"),
        (None, Some(_)) => format!("`{asked}` is not asked: a run ends here"),
    };
    let credentials = Section {
        name: "credentials",
        json: json(&steps, answer),
        text: format!("{}{end}\n", text(asked, &steps)),
    };
    (vec![credentials], failed)
}

/// One place, and what it has.
struct Step<'a> {
    place: &'a Place,
    state: State,
}

enum State {
    /// There is no such file.
    NotThere,
    /// It is there and has nothing for this registry.
    Nothing,
    /// It is asked, and answers.
    Answers(Box<Answer>),
    /// It would answer, but an earlier place does.
    Later(String),
    /// It cannot be asked.
    Broken(String),
}

impl State {
    /// The word in JSON.
    const fn word(&self) -> &'static str {
        match self {
            Self::NotThere => "not-there",
            Self::Nothing => "nothing",
            Self::Answers(_) => "answers",
            Self::Later(_) => "later",
            Self::Broken(_) => "broken",
        }
    }
}

/// All places with what they have, and the error that a run would end with.
async fn steps<'a>(search: &'a Search, asked: &Namespace) -> (Vec<Step<'a>>, Option<Error>) {
    let mut steps = Vec::new();
    let mut failed = None;
    let mut is_answered = false;
    for place in search.places() {
        let is_over = is_answered || failed.is_some();
        let state = if is_over {
            look(place, asked)
        } else {
            match search.ask(place, asked).await {
                Ok(Some(answer)) => {
                    is_answered = true;
                    State::Answers(Box::new(answer))
                }
                Ok(None) => absent_or_nothing(place),
                Err(error) => {
                    let state = State::Broken(words(&error));
                    failed = Some(error);
                    state
                }
            }
        };
        steps.push(Step { place, state });
    }
    (steps, failed)
}

/// What a place has that is not asked any more: no helper is run for it.
fn look(place: &Place, asked: &Namespace) -> State {
    let found = match &place.kind {
        Kind::Creds(_) => Some("for every registry".to_owned()),
        Kind::CredsFile(file) => file
            .look(asked)
            .map(|(namespace, line, _)| format!("`{namespace}` in line {line}")),
        Kind::File(file) => match file.read() {
            Ok(None) => return State::NotThere,
            Ok(Some(found)) => match found.look(asked) {
                Ok(look) => look.candidates.first().map(ToString::to_string),
                Err(error) => return State::Broken(words(&error)),
            },
            Err(error) => return State::Broken(words(&error)),
        },
    };
    found.map_or(State::Nothing, State::Later)
}

fn absent_or_nothing(place: &Place) -> State {
    match &place.kind {
        Kind::File(file) if matches!(file.read(), Ok(None)) => State::NotThere,
        Kind::File(_) | Kind::Creds(_) | Kind::CredsFile(_) => State::Nothing,
    }
}

fn words(error: &Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let text = lines.join("; ");
    cleaned(
        text.strip_prefix("error: ").unwrap_or(&text),
        SHOWN_CHARS_MAX,
    )
}

/// The file of a place, or the flag.
fn name(place: &Place) -> String {
    let name = match &place.kind {
        Kind::Creds(_) => place.why.to_owned(),
        Kind::CredsFile(file) => file.name().to_owned(),
        Kind::File(file) => file.path.display().to_string(),
    };
    cleaned(&name, SHOWN_CHARS_MAX)
}

fn who(answer: &Answer) -> String {
    match &answer.credential {
        Credential::Password { user, .. } => format!("user `{}`", cleaned(user, 200)),
        Credential::IdentityToken(_) => "an identity token".to_owned(),
    }
}

/// Who in the place answers: a key, a helper.
fn by(answer: &Answer) -> String {
    let key = answer.source.key.as_ref();
    let key = key.map(|key| format!(", for `{}`", cleaned(key, SHOWN_CHARS_MAX)));
    let helper = answer.source.helper.as_ref();
    let helper = helper.map(|name| format!(", from docker-credential-{name}"));
    format!("{}{}", key.unwrap_or_default(), helper.unwrap_or_default())
}

fn text(asked: &Namespace, steps: &[Step<'_>]) -> String {
    let mut text =
        format!("credentials of `{asked}`, in the order in which they are looked for:\n");
    for (at, step) in steps.iter().enumerate() {
        let state = match &step.state {
            State::NotThere => "is not there".to_owned(),
            State::Nothing => "has nothing for it".to_owned(),
            State::Answers(answer) => format!("answers with {}{}", who(answer), by(answer)),
            State::Later(what) => format!("is not asked any more, and has {what}"),
            State::Broken(why) => format!("cannot be asked: {why}"),
        };
        text.push_str(&line(at + 1, step.place, &state));
    }
    if steps.is_empty() {
        text.push_str("  no place at all\n");
    }
    text
}

fn line(number: usize, place: &Place, state: &str) -> String {
    let (name, why) = (name(place), place.why);
    if name == why {
        format!("  {number}. {name} {state}\n")
    } else {
        format!("  {number}. {name} ({why}) {state}\n")
    }
}

fn json(steps: &[Step<'_>], answer: Option<&Answer>) -> Value {
    let places = steps.iter().map(|step| {
        let message = match &step.state {
            State::Broken(message) | State::Later(message) => Some(message),
            State::NotThere | State::Nothing | State::Answers(_) => None,
        };
        json!({
            "place": name(step.place),
            "why": step.place.why,
            "state": step.state.word(),
            "message": message,
        })
    });
    let places: Vec<Value> = places.collect();
    let answer = answer.map(|answer| {
        let kind = match &answer.credential {
            Credential::Password { .. } => "password",
            Credential::IdentityToken(_) => "identity-token",
        };
        json!({
            "namespace": answer.namespace.to_string(),
            "place": answer.source.place,
            "key": answer.source.key,
            "helper": answer.source.helper,
            "user": answer.user(),
            "kind": kind,
        })
    });
    json!({ "places": places, "answer": answer })
}
