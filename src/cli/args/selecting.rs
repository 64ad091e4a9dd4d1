//! Which platforms, and which annotations: `-a` means both, as cosign's and Hangar's users type it.

use clap::Args;

use crate::oci::{Platform, PlatformSelection};

/// Which platforms are meant; and annotations, which share a letter with architectures.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = super::SELECTING)]
pub(in crate::cli) struct Selecting {
    /// An architecture, or, with a `=`, an annotation; may be repeated
    #[arg(short = 'a', value_name = "ARCH|KEY=VALUE")]
    short: Vec<String>,
    /// Architectures wanted, comma-separated or repeated; `all` for every one
    #[arg(long, value_name = "ARCH", value_parser = part, value_delimiter = ',', conflicts_with = "platforms")]
    arch: Vec<String>,
    /// Operating systems wanted, comma-separated or repeated; `all` for every one
    #[arg(long, value_name = "OS", value_parser = part, value_delimiter = ',', conflicts_with = "platforms")]
    os: Vec<String>,
    /// Variants wanted, comma-separated or repeated; all without it
    #[arg(long, value_name = "VARIANT", value_parser = part, value_delimiter = ',', conflicts_with = "platforms")]
    variant: Vec<String>,
    /// Platforms wanted, comma-separated or repeated
    #[arg(
        long = "platform",
        value_name = "OS/ARCH[/VARIANT]",
        value_delimiter = ','
    )]
    platforms: Vec<Platform>,
}

/// The word that stands for every architecture or operating system.
const ALL: &str = "all";

impl Selecting {
    /// The platforms that are meant; where neither architecture nor system is said, those of `usual`.
    ///
    /// # Errors
    ///
    /// When `-a` names what is no architecture, or contradicts `--platform`.
    pub(in crate::cli) fn selection(
        &self,
        usual: (&[&str], &[&str]),
    ) -> Result<PlatformSelection, String> {
        let mut arch = self.arch.clone();
        for list in self.short.iter().filter(|text| !text.contains('=')) {
            for text in list.split(',') {
                arch.push(part(text).map_err(|why| format!("`-a {list}`: {why}"))?);
            }
        }
        if !self.platforms.is_empty() {
            if !arch.is_empty() {
                return Err("`-a ARCH` and `--platform` cannot be used together".to_owned());
            }
            return Ok(PlatformSelection::of_platforms(&self.platforms));
        }
        let (usual_os, usual_arch) = usual;
        let os = chosen(&self.os, usual_os, "--os")?;
        let arch = chosen(&arch, usual_arch, "--arch")?;
        Ok(PlatformSelection::of_parts(&os, &arch, &self.variant))
    }

    /// The annotations that `-a` names, as `key=value`.
    pub(in crate::cli) fn annotations(&self) -> impl Iterator<Item = &str> {
        self.short
            .iter()
            .map(String::as_str)
            .filter(|text| text.contains('='))
    }
}

/// What is wanted: what was said, else what is usual; nothing for every one.
fn chosen(said: &[String], usual: &[&str], flag: &str) -> Result<Vec<String>, String> {
    if said.is_empty() {
        return Ok(usual.iter().map(|&text| text.to_owned()).collect());
    }
    match (said.iter().any(|text| text == ALL), said.len()) {
        (true, 1) => Ok(Vec::new()),
        (true, _) => Err(format!("`{flag} all` leaves nothing to name beside it")),
        (false, _) => Ok(said.to_vec()),
    }
}

/// A part of a platform.
fn part(text: &str) -> Result<String, String> {
    if text.contains('=') {
        return Err("an annotation is given with `-a` or `--annotations`".to_owned());
    }
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    if text.is_empty() || !text.bytes().all(is_plain) {
        return Err("lower-case letters, digits, -, _ and . are wanted".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selecting(short: &[&str], arch: &[&str], os: &[&str]) -> Selecting {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Selecting {
            short: owned(short),
            arch: owned(arch),
            os: owned(os),
            ..Selecting::default()
        }
    }

    const USUAL: (&[&str], &[&str]) = (&["linux"], &["amd64", "arm64"]);

    fn has(selecting: &Selecting, platform: &str) -> bool {
        let selection = selecting.selection(USUAL).unwrap();
        selection.includes(&platform.parse().unwrap())
    }

    #[test]
    fn one_letter_means_architectures_and_annotations() {
        let both = selecting(&["amd64,s390x", "tag=1", "arm64"], &[], &[]);
        assert!(has(&both, "linux/s390x") && has(&both, "linux/arm64"));
        assert!(!has(&both, "linux/riscv64") && !has(&both, "windows/amd64"));
        assert_eq!(both.annotations().collect::<Vec<_>>(), ["tag=1"]);
        assert!(selecting(&["AMD64"], &[], &[]).selection(USUAL).is_err());
    }

    #[test]
    fn what_is_usual_holds_where_nothing_is_said_and_all_means_every_one() {
        let nothing = selecting(&["a=b"], &[], &[]);
        assert!(has(&nothing, "linux/amd64") && has(&nothing, "linux/arm64"));
        assert!(!has(&nothing, "linux/s390x"));
        assert!(has(&selecting(&[], &["all"], &[]), "linux/s390x"));
        assert!(!has(&selecting(&[], &["all"], &[]), "windows/s390x"));
        assert!(has(&selecting(&["all"], &[], &["all"]), "windows/s390x"));
        assert!(
            selecting(&[], &["all", "amd64"], &[])
                .selection(USUAL)
                .is_err()
        );
        let none: (&[&str], &[&str]) = (&[], &[]);
        assert!(nothing.selection(none).unwrap().is_all());
    }
}
