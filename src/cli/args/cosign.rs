//! Flags of cosign's: those that are needless here are taken and say nothing, the others are refused with what
//! to type instead. None of them is in the help.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

/// What of cosign's `sign` and `verify` is about registries.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct CosignRegistry {
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    allow_http_registry: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    allow_insecure_registry: Option<bool>,
    #[arg(long, hide = true)]
    registry_username: Option<SecretString>,
    #[arg(long, hide = true)]
    registry_password: Option<SecretString>,
    #[arg(long, hide = true)]
    registry_token: Option<SecretString>,
    #[arg(long, hide = true)]
    registry_client_cert: Option<PathBuf>,
    #[arg(long, hide = true)]
    registry_client_key: Option<PathBuf>,
    #[arg(long, hide = true)]
    registry_server_name: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    k8s_keychain: Option<bool>,
    #[arg(long, hide = true)]
    attachment_tag_prefix: Option<String>,
    #[arg(long, hide = true)]
    attachment: Option<String>,
    #[arg(long, hide = true)]
    certificate: Option<PathBuf>,
    #[arg(long, hide = true)]
    certificate_chain: Option<PathBuf>,
    #[arg(long, hide = true)]
    payload: Option<PathBuf>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    sk: Option<bool>,
    #[arg(long, hide = true)]
    slot: Option<String>,
    // cosign's own, of every command.
    #[arg(long, hide = true)]
    output_file: Option<PathBuf>,
    #[arg(short = 'd', long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    verbose: Option<bool>,
}

/// A flag that is not taken, and what there is instead.
pub(in crate::cli) type Instead = (&'static str, &'static str);

impl CosignRegistry {
    /// Whether any certificate of a registry is taken, and plain HTTP.
    pub(in crate::cli) const fn is_insecure(&self) -> bool {
        matches!(self.allow_http_registry, Some(true))
            || matches!(self.allow_insecure_registry, Some(true))
    }

    fn refused(&self) -> Option<Instead> {
        const CREDS: &str = "`--creds USER:PASSWORD` or `consign login` says who asks";
        const CERTS: &str = "`--cert-dir DIR` or a folder of `certs.d` has the client certificate and the authorities";
        const OWN: &str = "a signature brings its certificate; sites with an own authority give it by `--ca-roots`";
        const KEYS: &str = "keys are files, and signing without a key needs an identity token";
        find(&[
            (
                self.registry_username.is_some(),
                "--registry-username",
                CREDS,
            ),
            (
                self.registry_password.is_some(),
                "--registry-password",
                CREDS,
            ),
            (self.registry_token.is_some(), "--registry-token", CREDS),
            (
                self.registry_client_cert.is_some(),
                "--registry-client-cert",
                CERTS,
            ),
            (
                self.registry_client_key.is_some(),
                "--registry-client-key",
                CERTS,
            ),
            (
                self.registry_server_name.is_some(),
                "--registry-server-name",
                "a registry is checked by the name that it is asked under",
            ),
            (
                self.k8s_keychain == Some(true),
                "--k8s-keychain",
                "credential helpers are named in the file of credentials",
            ),
            (
                self.attachment_tag_prefix.is_some(),
                "--attachment-tag-prefix",
                "signatures stand where every program looks for them",
            ),
            (
                self.attachment.is_some(),
                "--attachment",
                "name the attached image itself, by its digest",
            ),
            (self.certificate.is_some(), "--certificate", OWN),
            (self.certificate_chain.is_some(), "--certificate-chain", OWN),
            (
                self.payload.is_some(),
                "--payload",
                "images are asked for at their registry",
            ),
            (self.sk == Some(true), "--sk", KEYS),
            (self.slot.is_some(), "--slot", KEYS),
            (
                self.output_file.is_some(),
                "--output-file",
                "messages go to stderr: `2> FILE` keeps them",
            ),
            (
                self.verbose == Some(true),
                "--verbose",
                "`--debug` logs requests and decisions",
            ),
        ])
    }
}

/// What of cosign's `sign` has another name here, or none.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct CosignSign {
    /// About registries.
    #[command(flatten)]
    registry: CosignRegistry,
    // The index and all in it are signed unless `--subjects` says otherwise.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    recursive: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    new_bundle_format: Option<bool>,
    // Nothing is ever fetched to know what to ask.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    use_signing_config: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    upload: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    issue_certificate: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    record_creation_timestamp: Option<bool>,
    #[arg(long, hide = true)]
    output_signature: Option<PathBuf>,
    #[arg(long, hide = true)]
    output_payload: Option<PathBuf>,
    #[arg(long, hide = true)]
    output_certificate: Option<PathBuf>,
    #[arg(long, hide = true)]
    bundle: Option<PathBuf>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    insecure_skip_verify: Option<bool>,
    #[arg(long, hide = true)]
    timestamp_client_cacert: Option<PathBuf>,
    #[arg(long, hide = true)]
    timestamp_client_cert: Option<PathBuf>,
    #[arg(long, hide = true)]
    timestamp_client_key: Option<PathBuf>,
    #[arg(long, hide = true)]
    timestamp_server_name: Option<String>,
}

impl CosignSign {
    /// Whether any certificate of a registry is taken, and plain HTTP.
    pub(in crate::cli) const fn is_insecure(&self) -> bool {
        self.registry.is_insecure()
    }

    /// `--new-bundle-format`.
    pub(in crate::cli) const fn bundles(&self) -> Option<bool> {
        self.new_bundle_format
    }

    /// The first flag that was given and is not taken.
    pub(in crate::cli) fn refused(&self) -> Option<Instead> {
        const FILES: &str = "signatures are written to the registry, and to no files";
        find(&[
            (
                self.recursive == Some(false),
                "--recursive=false",
                "`--subjects index` signs the index alone",
            ),
            (self.upload == Some(false), "--upload=false", FILES),
            (
                self.issue_certificate == Some(true),
                "--issue-certificate",
                "signing is by a key, or by a certificate without one",
            ),
            (
                self.record_creation_timestamp == Some(true),
                "--record-creation-timestamp",
                "what is written is the same whenever it is written",
            ),
            (self.output_signature.is_some(), "--output-signature", FILES),
            (self.output_payload.is_some(), "--output-payload", FILES),
            (
                self.output_certificate.is_some(),
                "--output-certificate",
                FILES,
            ),
            (self.bundle.is_some(), "--bundle", FILES),
            (
                self.insecure_skip_verify == Some(true),
                "--insecure-skip-verify",
                "what services make is always verified before it is pushed, by `--trusted-root`",
            ),
        ])
        .or_else(|| self.refused_of_clocks())
        .or_else(|| self.registry.refused())
    }
}

impl CosignSign {
    fn refused_of_clocks(&self) -> Option<Instead> {
        const PROVEN: &str = "a clock is asked without a certificate of the client's";
        find(&[
            (
                self.timestamp_client_cacert.is_some(),
                "--timestamp-client-cacert",
                "`--ca-file` is for the authorities of services too",
            ),
            (
                self.timestamp_client_cert.is_some(),
                "--timestamp-client-cert",
                PROVEN,
            ),
            (
                self.timestamp_client_key.is_some(),
                "--timestamp-client-key",
                PROVEN,
            ),
            (
                self.timestamp_server_name.is_some(),
                "--timestamp-server-name",
                "a clock is checked by the name that it is asked under",
            ),
        ])
    }
}

/// What of cosign's `verify` has another name here, or none.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct CosignVerify {
    /// About registries.
    #[command(flatten)]
    registry: CosignRegistry,
    // All places and formats are searched, all hashes of a key tried, all times that are proven compared.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    experimental_oci11: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    new_bundle_format: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    use_signed_timestamps: Option<bool>,
    #[arg(long, hide = true)]
    signature_digest_algorithm: Option<String>,
    // No log is ever asked: what a signature brings is judged.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    offline: Option<bool>,
    #[arg(long, hide = true)]
    rekor_url: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    check_claims: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    private_infrastructure: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    local_image: Option<bool>,
    #[arg(long, hide = true)]
    signature: Option<PathBuf>,
    #[arg(long, hide = true)]
    sct: Option<PathBuf>,
    #[arg(long, hide = true)]
    max_workers: Option<String>,
    #[arg(long, hide = true)]
    certificate_github_workflow_trigger: Option<String>,
    #[arg(long, hide = true)]
    certificate_github_workflow_sha: Option<String>,
    #[arg(long, hide = true)]
    certificate_github_workflow_name: Option<String>,
    #[arg(long, hide = true)]
    certificate_github_workflow_repository: Option<String>,
    #[arg(long, hide = true)]
    certificate_github_workflow_ref: Option<String>,
    // Hangar's.
    #[arg(long, hide = true, value_name = "FORMAT")]
    format: Option<String>,
}

impl CosignVerify {
    /// Whether any certificate of a registry is taken, and plain HTTP.
    pub(in crate::cli) const fn is_insecure(&self) -> bool {
        self.registry.is_insecure()
    }

    /// What a certificate must say of a build, by OID.
    pub(in crate::cli) fn claims(&self) -> Vec<(&'static str, String)> {
        [
            (
                "1.3.6.1.4.1.57264.1.2",
                &self.certificate_github_workflow_trigger,
            ),
            (
                "1.3.6.1.4.1.57264.1.3",
                &self.certificate_github_workflow_sha,
            ),
            (
                "1.3.6.1.4.1.57264.1.4",
                &self.certificate_github_workflow_name,
            ),
            (
                "1.3.6.1.4.1.57264.1.5",
                &self.certificate_github_workflow_repository,
            ),
            (
                "1.3.6.1.4.1.57264.1.6",
                &self.certificate_github_workflow_ref,
            ),
        ]
        .into_iter()
        .filter_map(|(oid, wanted)| Some((oid, wanted.clone()?)))
        .collect()
    }

    /// The first flag that was given and is not taken.
    pub(in crate::cli) fn refused(&self) -> Option<Instead> {
        const BROUGHT: &str = "what a signature brings at its registry is judged";
        let format = self.format.as_deref();
        find(&[
            (
                self.check_claims == Some(false),
                "--check-claims=false",
                "a signature is always one of this digest",
            ),
            (
                self.private_infrastructure == Some(true),
                "--private-infrastructure",
                "`--insecure-ignore-tlog` accepts what no log vouches for, and says so",
            ),
            (
                self.local_image == Some(true),
                "--local-image",
                "`consign serve DIR` is a registry for images in a folder",
            ),
            (self.signature.is_some(), "--signature", BROUGHT),
            (self.sct.is_some(), "--sct", BROUGHT),
            (
                self.max_workers.is_some(),
                "--max-workers",
                "`--jobs` bounds how many images are asked for at once",
            ),
            (
                self.rekor_url.is_some(),
                "--rekor-url",
                "no log is asked: its word stands with the signature, and `--rekor-public-key` checks it",
            ),
            (
                self.offline == Some(false),
                "--offline=false",
                "no log is ever asked",
            ),
            (
                format.is_some_and(|text| text != "json"),
                "--format",
                "`--output json` and `--output cosign` are there",
            ),
        ])
        .or_else(|| self.registry.refused())
    }
}

/// What there is instead of a command of cosign's.
pub(in crate::cli) fn command(word: &str) -> Option<&'static str> {
    const OTHERS: &str = "images are signed and validated here; cosign does the rest of it, and what it wrote \
        travels with `mirror` and `copy`";
    const ROOT: &str = "nothing is fetched: `--trusted-root FILE` names what is trusted, and `--signing-config FILE` \
        who is asked";
    match word {
        "generate-key-pair" => {
            Some("`consign generate-key --prefix cosign` makes cosign.key and cosign.pub")
        }
        "import-key-pair" => Some("keys that cosign has imported are read as they are"),
        "public-key" => Some("`consign generate-key` writes the public key beside the private one"),
        "tree" | "triangulate" => Some(
            "`consign validate … --output json` says what was found, and `consign list-tags` what tags there are",
        ),
        "clean" => Some(
            "`consign mirror --remove-signatures --prune-signatures` takes signatures away at a destination",
        ),
        "attest"
        | "attest-blob"
        | "verify-attestation"
        | "verify-blob-attestation"
        | "sign-blob"
        | "verify-blob"
        | "attach"
        | "download"
        | "upload"
        | "generate"
        | "dockerfile"
        | "manifest" => Some(OTHERS),
        "initialize" | "trusted-root" | "signing-config" | "bundle" | "env" => Some(ROOT),
        _ => None,
    }
}

fn find(flags: &[(bool, &'static str, &'static str)]) -> Option<Instead> {
    flags
        .iter()
        .find_map(|(given, flag, instead)| given.then_some((*flag, *instead)))
}
