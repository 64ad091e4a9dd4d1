//! `mirror`, `plan`, and the run that `copy` shares with them.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use crate::attached::Attached;
use crate::compose::Keys;
use crate::event::Meter;
use crate::list::Sign;
use crate::plan::{self, Plan, Rewrite};
use crate::report::{self, Skipped, write_plan_json, write_plan_text};
use crate::runner::{Means, Mirror, Projects, Signer, Trust};
use crate::sigstore::PublicKey;
use crate::transfer::{Closure, Engine, Options, Overwrite, Prune};
use crate::verify::Subjects;

use super::access::{Registries, Sources};
use super::args::{
    Access, Bounds, Copying, General, IndexArg, LogFormat, MirrorArgs, Output, TwoSides,
};
use super::error::Error;
use super::keyless::Usual;
use super::lists::{BadLines, Lists};
use super::run::Run;
use super::{Environment, access, cache, keyless, keys, policy, trust};

/// `consign mirror`, and with `--dry-run` `consign plan`.
pub(super) async fn mirror(
    args: MirrorArgs,
    general: &General,
    environment: &Environment,
) -> Result<u8, Error> {
    let rewrite = Rewrite {
        source_registry: args.source,
        source_project: args.source_project,
        destination_registry: args.destination,
        destination_project: args.destination_project,
    };
    let bad_lines = BadLines::of(args.skip_bad_lines);
    let registries = access::registries()?;
    let planned = |entries| {
        // `--source` says where everything comes from.
        let entries = match rewrite.source_registry {
            Some(_) => entries,
            None => access::resolved(entries, &registries),
        };
        plan::plan_good(entries, &rewrite)
    };
    let (plan, skipped, _) = Lists::read(
        &args.files,
        &args.access,
        (&args.reading, Keys::All),
        general,
    )?
    .plan(bad_lines, planned)?;
    say_skipped(&skipped, general);
    let copying = Copy {
        command: "mirror",
        plan: Arc::new(plan),
        skipped,
        lists: args.files,
        failed: Some(args.failed),
        output: args.output,
        copying: args.copying,
        access: args.access,
        sides: args.sides,
        registries,
        bounds: args.bounds,
    };
    if args.dry_run {
        copying.check(environment)?;
        let sources = Sources::of(&copying.plan, &copying.registries)?.by_job();
        return show(&copying.plan, &sources, &copying.skipped, args.output);
    }
    copying.run(general, environment).await
}

/// Tells a person which bad lines are left out.
pub(super) fn say_skipped(skipped: &[Skipped], general: &General) {
    if general.log_format == LogFormat::Text {
        for line in skipped {
            // Nobody reads it, then.
            drop(writeln!(io::stderr(), "skipped {line}"));
        }
    }
}

/// Prints a plan instead of running it.
pub(super) fn show(
    plan: &Plan,
    sources: &report::Sources,
    skipped: &[Skipped],
    output: Output,
) -> Result<u8, Error> {
    let mut text = Vec::new();
    let written = match output {
        Output::Text => write_plan_text(plan, sources, &mut text),
        Output::Json => write_plan_json(plan, sources, &mut text),
    };
    written.map_err(|error| Error::usage("cannot print the plan", &error))?;
    super::print_bytes(&text)?;
    Ok(u8::from(!skipped.is_empty()))
}

/// A run of `mirror` or `copy`, with all that was given for it.
pub(super) struct Copy {
    pub(super) command: &'static str,
    pub(super) plan: Arc<Plan>,
    pub(super) skipped: Vec<Skipped>,
    /// The files the plan was read from.
    pub(super) lists: Vec<PathBuf>,
    pub(super) failed: Option<PathBuf>,
    pub(super) output: Output,
    pub(super) copying: Copying,
    pub(super) access: Access,
    pub(super) sides: TwoSides,
    /// What the host says of sources.
    pub(super) registries: Registries,
    pub(super) bounds: Bounds,
}

impl Copy {
    /// Refuses flags that make no sense together or with this plan; reads public keys, and opens no
    /// private one.
    fn check(&self, environment: &Environment) -> Result<(), Error> {
        if let Some(flag) = self.copying.later.first() {
            return Err(Error::refused(&format!("`{flag}` is not there yet")));
        }
        if let Some((flag, instead)) = self.copying.later.elsewhere() {
            return Err(Error::refused(&format!("`{flag}` is not there")).with_hint(instead));
        }
        options(&self.copying, None)?;
        self.trust(environment)?;
        policy::gate(&self.copying, environment)?;
        let signatures = &self.copying.signatures;
        let lines = keys::lines(&self.plan);
        if signatures.sign_key.is_some() || signatures.sign_keyless || !lines.is_empty() {
            self.usual(&lines, environment)?;
            keys::check_lines(&lines)?;
            let others = signatures.sign_keyless || !lines.is_empty();
            if others && signatures.prune_signatures {
                return Err(Error::refused(
                    "`--prune-signatures` would take away what `--sign-keyless` and lines with `sign` sign, and \
                     does not go with them",
                ));
            }
            let has_key =
                signatures.sign_key.is_some() || lines.keys().any(|sign| *sign != Sign::Keyless);
            if !has_key && signatures.signing.passphrase_file.is_some() {
                return Err(Error::refused("`--passphrase-file` needs `--sign-key`"));
            }
        } else {
            let unused = [
                (
                    signatures.signing.passphrase_file.is_some(),
                    "--passphrase-file",
                ),
                (
                    signatures.signing.sign_identity.is_some(),
                    "--sign-identity",
                ),
                (!signatures.signing.formats.is_empty(), "--signature-format"),
                (
                    signatures.signing.registry_referrers_mode.is_some(),
                    "--registry-referrers-mode",
                ),
                (
                    self.copying.selecting.annotations().next().is_some(),
                    "-a KEY=VALUE",
                ),
            ];
            if let Some((_, flag)) = unused.iter().find(|(given, _)| *given) {
                return Err(Error::refused(&format!(
                    "`{flag}` needs `--sign-key` or `--sign-keyless`"
                )));
            }
            let of_keyless = signatures.keyless.first();
            let root = signatures.sign_trusted_root.as_ref();
            if let Some(flag) = of_keyless.or(root.map(|_| "--sign-trusted-root")) {
                return Err(Error::refused(&format!("`{flag}` needs `--sign-keyless`")));
            }
        }
        Ok(())
    }

    /// Refuses indexes of which a part was not judged, where sources are.
    fn check_index(&self, subjects: Option<Subjects>) -> Result<(), Error> {
        let covers_all = matches!(subjects, Some(Subjects::Index | Subjects::All));
        let why = match self.copying.index {
            IndexArg::Rewrite => return Ok(()),
            IndexArg::Sparse if covers_all => return Ok(()),
            IndexArg::Sparse => {
                "`--index sparse` keeps names of manifests that are not judged: with `--verify-key` it \
                 needs `--verify-subjects index` or `all`"
            }
            IndexArg::Merge => {
                "`--index merge` joins what was judged with what was not, and does not go with `--verify-key`"
            }
        };
        Err(Error::refused(why))
    }

    /// What sources must prove, where that is asked, and what every report says of it.
    fn trust(&self, environment: &Environment) -> Result<(Option<Trust>, Vec<String>), Error> {
        let signatures = &self.copying.signatures;
        let who = signatures.verify_who.clone().into();
        let said = trust::Said {
            keys: &signatures.verify_keys,
            who: &who,
            trust: &signatures.trust,
            claims: &[],
            flags: trust::VERIFY,
        };
        let known = trust::known(said, &self.plan, environment)?;
        let Some(known) = known else {
            return match signatures.needs_verification() {
                Some(flag) => Err(Error::refused(&format!(
                    "`{flag}` needs `--verify-key` or `--verify-certificate-identity`"
                ))),
                None => Ok((None, Vec::new())),
            };
        };
        let subjects = signatures.verify_subjects.map(Into::into);
        // Lines that say themselves who must have signed mean the index.
        let of_lines = known.signers.is_none().then_some(Subjects::Index);
        self.check_index(subjects.or(of_lines))?;
        let trust = Trust {
            signers: known.signers,
            own: known.own,
            identity: trust::identity(&signatures.identity)?,
            annotations: keys::annotations(&signatures.verify_annotations, [])?,
            subjects,
            selection: options(&self.copying, None)?.selection,
        };
        Ok((Some(trust), known.warnings))
    }

    /// What is given for signing without a key.
    fn given(&self) -> keyless::Given<'_> {
        let signatures = &self.copying.signatures;
        keyless::Given {
            args: &signatures.keyless,
            trusted_root: signatures.sign_trusted_root.as_ref(),
            root_flag: "--sign-trusted-root",
            is_usual: signatures.sign_keyless,
        }
    }

    /// How what was copied is signed, where the line does not say it.
    fn usual(
        &self,
        lines: &keys::Lines<'_>,
        environment: &Environment,
    ) -> Result<Usual<'_>, Error> {
        let signatures = &self.copying.signatures;
        let key = signatures.sign_key.as_deref();
        let is_asked = key.is_some() || signatures.sign_keyless;
        if !is_asked && lines.is_empty() {
            return Ok(Usual::NotSigned);
        }
        keyless::usual(key, self.given(), lines, environment)
    }

    /// Who signs what was copied, where that is asked.
    async fn signer(&self, environment: &Environment) -> Result<Option<Signer>, Error> {
        let signatures = &self.copying.signatures;
        let lines = keys::lines(&self.plan);
        let usual = self.usual(&lines, environment)?;
        if usual == Usual::NotSigned && lines.is_empty() {
            return Ok(None);
        }
        let with = keys::With {
            usual,
            lines: &lines,
            given: self.given(),
            access: &self.access,
        };
        let what = keys::What {
            identity: signatures.signing.sign_identity.as_ref(),
            annotations: keys::annotations(
                &signatures.sign_annotations,
                self.copying.selecting.annotations(),
            )?,
            subjects: signatures.sign_subjects.map_or(Subjects::All, Into::into),
            // What is at the destination is what was selected already.
            selection: crate::oci::PlatformSelection::all(),
        };
        keys::signer(with, &signatures.signing, what, (&self.plan, environment))
            .await
            .map(Some)
    }

    /// Runs it and says with which code the process ends.
    pub(super) async fn run(
        self,
        general: &General,
        environment: &Environment,
    ) -> Result<u8, Error> {
        self.check(environment)?;
        let (trust, warnings) = self.trust(environment)?;
        let run = Run {
            command: self.command,
            plan: Arc::clone(&self.plan),
            skipped: self.skipped.clone(),
            lists: self.lists.clone(),
            failed: self.failed.clone(),
            report: self.copying.report.clone(),
            digests: self.copying.digests.clone(),
            output: self.output.into(),
            bounds: self.bounds.clone(),
            warnings,
        };
        run.check_outputs()?;
        let gate = policy::gate(&self.copying, environment)?;
        let signer = self.signer(environment).await?;
        let own = signer.as_ref().and_then(|signer| match &signer.means {
            Some(Means::Key(key)) => Some(key.public().clone()),
            Some(Means::Keyless(_)) | None => None,
        });
        let sources = Sources::of(&self.plan, &self.registries)?;
        let jobs = self.plan.distinct();
        let destinations: Vec<_> = jobs.map(|job| &job.destination.repository).collect();
        let (access, sides) = (&self.access, &self.sides);
        let client =
            access::client_of_two(access, sides, environment, &sources, destinations).await?;
        let is_verified = gate.is_some() || trust.is_some();
        let caching = Some(&self.copying.caching).filter(|_| is_verified);
        let cache = caching.and_then(|caching| cache::open(caching, environment));
        let client = client.with_cache(cache.clone());
        let attached = Attached::new(client.clone(), environment.locks());
        let meter = Arc::new(Meter::new());
        let engine = Engine::new(client, Arc::clone(&meter), attached);
        let work = Mirror::new(Arc::new(engine), options(&self.copying, own)?)
            .with_gate(gate)
            .with_trust(trust)
            .with_signer(signer)
            .with_sources(sources.by_job())
            .with_projects(if self.sides.create_projects {
                Projects::Made
            } else {
                Projects::Named
            });
        let ended = run.run(work, &meter, general, environment).await;
        cache::settle(cache.as_ref());
        ended
    }
}

fn options(copying: &Copying, own: Option<PublicKey>) -> Result<Options, Error> {
    let selection = copying
        .selecting
        .selection((&[], &[]))
        .map_err(|why| Error::refused(&why))?;
    let signatures = &copying.signatures;
    Ok(Options {
        selection,
        index: copying.index.into(),
        on_existing: copying.on_existing.into(),
        overwrite: if copying.overwrite {
            Overwrite::Allowed
        } else {
            Overwrite::Refused
        },
        closure: if signatures.no_referrers {
            Closure::None
        } else if signatures.remove_signatures {
            Closure::WithoutSignatures
        } else {
            Closure::All
        },
        prune: if signatures.prune_signatures {
            Prune::Yes { keep: own }
        } else {
            Prune::No
        },
    })
}
