//! `rig certificate`: an authority of the moment, and one certificate of it for loopback.
//!
//! Its key is thrown away, so that nobody can sign anything else by it.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use crate::Failure;

/// The names of the certificate.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// What `rig certificate` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder for ca.pem, cert.pem and key.pem; it is made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Writes the three files. All keys are ECDSA P-256.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let name = "consign benchmarks, for tests only";
    params.distinguished_name.push(DnType::CommonName, name);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;

    fs::create_dir_all(&options.out)?;
    fs::write(options.out.join("ca.pem"), authority.pem())?;
    fs::write(options.out.join("cert.pem"), certificate.pem())?;
    fs::write(options.out.join("key.pem"), key.serialize_pem())?;
    Ok(())
}
