//! `sign` and `validate`: runs over images that stay where they are.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::attached::Attached;
use crate::compose::Keys;
use crate::event::Meter;
use crate::list;
use crate::oci::Reference;
use crate::plan::{self, Plan, Stay};
use crate::registry::Client;
use crate::report::{Skipped, Sources};
use crate::runner::{Sign, Trust, Validate};

use super::args::{Access, General, InPlace, Instead, OneSide, Shown, SignArgs, ValidateArgs};
use super::error::Error;
use super::lists::{self, BadLines, Lists, Rejected};
use super::mirror::{say_skipped, show};
use super::run::Run;
use super::{Environment, access, cache, keyless, keys, trust};

/// What Hangar validates of an image unless told otherwise.
const USUAL: (&[&str], &[&str]) = (&["linux"], &["amd64", "arm64"]);

/// `consign sign`.
pub(super) async fn sign(
    args: SignArgs,
    general: &General,
    environment: &Environment,
) -> Result<u8, Error> {
    let args = args.meant().map_err(refused)?;
    let stay = Staying::read(args.images, Keys::Private, general)?;
    // A token in the environment alone means the lines that ask for it, where any line says who signs.
    let is_said = |job: &plan::Job| job.settings.sign.is_some();
    let is_free = environment.identity_token.is_some() && !stay.plan.distinct().any(is_said);
    let given = keyless::Given {
        args: &args.keyless,
        trusted_root: args.trusted_root.as_ref(),
        root_flag: "--trusted-root",
        is_usual: args.keyless.identity_token.is_some() || is_free,
    };
    let lines = keys::lines(&stay.plan);
    let usual = keyless::usual(args.key.as_deref(), given, &lines, environment)?;
    keys::check_lines(&lines)?;
    let has_key = args.key.is_some() || lines.keys().any(|sign| *sign != list::Sign::Keyless);
    if !has_key && args.signing.passphrase_file.is_some() {
        return Err(Error::refused("`--passphrase-file` needs `--key`"));
    }
    let selection = stay.images.selecting.selection((&[], &[]));
    let what = keys::What {
        identity: args.signing.sign_identity.as_ref(),
        annotations: keys::annotations(
            &stay.images.annotations,
            stay.images.selecting.annotations(),
        )?,
        subjects: args.subjects.into(),
        selection: selection.map_err(|why| Error::refused(&why))?,
    };
    if stay.is_dry {
        return show(
            &stay.plan,
            &Sources::new(),
            &stay.skipped,
            stay.shown(Shown::Text).into(),
        );
    }
    let rejected = if args.sign_rejected {
        HashSet::new()
    } else {
        rejected(&stay)
    };
    let (access, side) = (stay.images.access.clone(), stay.images.side.clone());
    let output = stay.shown(Shown::Text);
    if output == Shown::Cosign {
        return Err(Error::refused(
            "`--output cosign` says what a validation accepted; there is `json`",
        ));
    }
    let run = Run {
        warnings: elsewhere(environment).collect(),
        ..stay.run("sign", "sign-failed.txt", output)
    };
    run.check_outputs()?;
    let lines = keys::lines(&run.plan);
    let with = keys::With {
        usual,
        lines: &lines,
        given,
        access: &access,
    };
    let signer = keys::signer(with, &args.signing, what, (&run.plan, environment)).await?;
    let client = client(&run.plan, (&access, &side), environment).await?;
    let attached = Attached::new(client, environment.locks());
    let work = Sign::new(attached, signer, rejected);
    run.run(work, &Arc::new(Meter::new()), general, environment)
        .await
}

/// `consign validate`; `failed` is where lines that did not end well are listed unless told otherwise.
pub(super) async fn validate(
    args: ValidateArgs,
    failed: &str,
    general: &General,
    environment: &Environment,
) -> Result<u8, Error> {
    let args = args.meant().map_err(refused)?;
    let stay = Staying::read(args.images, Keys::Public, general)?;
    let said = trust::Said {
        keys: &args.keys,
        who: &args.who,
        trust: &args.trust,
        claims: &args.cosign.claims(),
        flags: trust::VALIDATE,
    };
    let known = trust::known(said, &stay.plan, environment)?;
    let known = known.ok_or_else(nobody)?;
    let selection = stay.images.selecting.selection(USUAL);
    let trust = Trust {
        signers: known.signers,
        own: known.own,
        identity: trust::identity(&args.identity)?,
        annotations: keys::annotations(
            &stay.images.annotations,
            stay.images.selecting.annotations(),
        )?,
        subjects: args.subjects.map(Into::into),
        selection: selection.map_err(|why| Error::refused(&why))?,
    };
    if stay.is_dry {
        return show(
            &stay.plan,
            &Sources::new(),
            &stay.skipped,
            stay.shown(Shown::Text).into(),
        );
    }
    let (access, side) = (stay.images.access.clone(), stay.images.side.clone());
    let output = stay.shown(Shown::Cosign);
    let run = Run {
        warnings: known
            .warnings
            .into_iter()
            .chain(elsewhere(environment))
            .collect(),
        ..stay.run("validate", failed, output)
    };
    run.check_outputs()?;
    let client = client(&run.plan, (&access, &side), environment).await?;
    let cache = cache::open(&args.caching, environment);
    let client = client.with_cache(cache.clone());
    let work = Validate::new(Attached::new(client, environment.locks()), trust);
    let meter = Arc::new(Meter::new());
    let ended = run.run(work, &meter, general, environment).await;
    cache::settle(cache.as_ref());
    ended
}

/// The jobs of images that a failed list marks as rejected; by whatever line they are meant, for another
/// one may name the same image, and the marked one is its duplicate then.
fn rejected(stay: &Staying) -> HashSet<plan::JobId> {
    let jobs = stay.plan.jobs();
    let marked = |job: &&plan::Job| lists::rejects(&stay.rejected, &job.line);
    let images: HashSet<&Reference> = jobs
        .iter()
        .filter(marked)
        .map(|job| &job.destination)
        .collect();
    jobs.iter()
        .filter(|job| images.contains(&job.destination))
        .map(|job| job.id)
        .collect()
}

/// What is said of signatures that cosign would have elsewhere.
fn elsewhere(environment: &Environment) -> impl Iterator<Item = String> + '_ {
    let said = "COSIGN_REPOSITORY is not read: signatures stand beside their images, and are looked for there alone";
    let named = environment.cosign_repository.iter();
    named.map(move |_| said.to_owned())
}

fn nobody() -> Error {
    Error::refused(
        "`--key FILE` is missing, and `--certificate-identity` with `--certificate-oidc-issuer`",
    )
    .with_hint("a signature is by somebody's key, or by a certificate that names somebody")
}

fn refused((flag, instead): Instead) -> Error {
    Error::refused(&format!("`{flag}` is not there")).with_hint(instead)
}

/// The images of a run that stay where they are.
struct Staying {
    plan: Plan,
    skipped: Vec<Skipped>,
    rejected: Rejected,
    images: InPlace,
    is_dry: bool,
}

impl Staying {
    fn read(images: InPlace, keys: Keys, general: &General) -> Result<Self, Error> {
        let stay = Stay {
            registry: images.registry.clone(),
            project: images.project.clone(),
        };
        let (plan, skipped, rejected) = Lists::read_with(
            (&images.images, &images.files),
            &images.access,
            (&images.reading, keys),
            general,
        )?
        .plan(BadLines::of(images.skip_bad_lines), |entries| {
            plan::plan_in_place(entries, &stay)
        })?;
        say_skipped(&skipped, general);
        Ok(Self {
            plan,
            skipped,
            rejected,
            is_dry: images.dry_run,
            images,
        })
    }

    /// What stdout says; `alone` where there are images on the command line alone, and nothing is asked for.
    fn shown(&self, alone: Shown) -> Shown {
        let usual = if self.images.files.is_empty() {
            alone
        } else {
            Shown::Text
        };
        self.images.output.unwrap_or(usual)
    }

    fn run(self, command: &'static str, failed: &str, output: Shown) -> Run {
        let has_lists = !self.images.files.is_empty();
        Run {
            command,
            plan: Arc::new(self.plan),
            skipped: self.skipped,
            lists: self.images.files,
            // Images on the command line are there to be typed again.
            failed: self
                .images
                .failed
                .or_else(|| has_lists.then(|| PathBuf::from(failed))),
            report: self.images.report,
            digests: None,
            output,
            bounds: self.images.bounds,
            warnings: Vec::new(),
        }
    }
}

async fn client(
    plan: &Plan,
    (access, side): (&Access, &OneSide),
    environment: &Environment,
) -> Result<Client, Error> {
    let repositories = plan.jobs().iter().map(|job| &job.destination.repository);
    access::client(access, side, environment, repositories).await
}
