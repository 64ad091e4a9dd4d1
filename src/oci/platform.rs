//! Platforms, and which of them a run wants.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::descriptor::or_empty;
use super::{Descriptor, Digest, Error, Reason};

/// The platform an image runs on (OCI image specification 1.1, image-index.md, `platform`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub struct Platform {
    /// The operating system, as `GOOS` names it.
    #[serde(default, deserialize_with = "or_empty")]
    pub os: String,
    /// The architecture, as `GOARCH` names it.
    #[serde(default, deserialize_with = "or_empty")]
    pub architecture: String,
    /// The variant of the architecture, or empty.
    #[serde(default, deserialize_with = "or_empty")]
    pub variant: String,
    /// The version of the operating system (Windows), or empty.
    #[serde(default, rename = "os.version", deserialize_with = "or_empty")]
    pub os_version: String,
}

impl Platform {
    /// Whether it says nothing: both fields absent, or `BuildKit`'s `unknown/unknown`.
    pub fn is_unknown(&self) -> bool {
        let blank = |text: &str| text.is_empty() || text == "unknown";
        blank(&self.os) && blank(&self.architecture)
    }

    /// What is meant: equal for two that name the same platform; `arm64` and `arm64/v8` are one.
    pub fn meant(&self) -> MeantPlatform {
        MeantPlatform([
            os(&self.os),
            architecture(&self.architecture),
            variant(&self.architecture, &self.variant),
            self.os_version.clone(),
        ])
    }
}

/// A platform in the words that are meant, to be looked up: indexes may have thousands of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MeantPlatform([String; 4]);

/// The variant that is meant, as containerd reads it: v8 is the only, unwritten variant of arm64, v1
/// that of amd64, and an arm without one is v7.
fn variant(of: &str, text: &str) -> String {
    let text = text.to_ascii_lowercase();
    match (&*architecture(of), &*text) {
        ("arm64", "v8" | "8") | ("amd64", "v1") => String::new(),
        ("arm", "" | "7") => "v7".to_owned(),
        ("arm", "5" | "6" | "8") => format!("v{text}"),
        _ => text,
    }
}

/// The operating system that is meant, as containerd reads it.
fn os(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

/// The architecture that is meant, in the specification's words: people type others, and containerd
/// runs an entry of an index that is written with them.
fn architecture(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "x86_64" | "x86-64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        "i386" | "i686" => "386".to_owned(),
        other => other.to_owned(),
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        if !self.os_version.is_empty() {
            write!(f, " ({})", self.os_version)?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Reads `os/arch[/variant]`, all lower case.
    fn from_str(text: &str) -> Result<Self, Error> {
        let fail = |reason| Error::new("platform", text, Reason::Grammar(reason));
        let parts: Vec<&str> = text.split('/').collect();
        let plain = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
        };
        if !parts.iter().all(plain) {
            return Err(fail("its parts are lower-case letters, digits, -, _ and ."));
        }
        let (os, arch, variant) = match parts.as_slice() {
            [os, arch] => (*os, *arch, ""),
            [os, arch, variant] => (*os, *arch, *variant),
            _ => return Err(fail("it is written os/arch or os/arch/variant")),
        };
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture(arch),
            variant: variant.to_owned(),
            os_version: String::new(),
        })
    }
}

/// Which platforms of an image are wanted. An empty one wants everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlatformSelection {
    wanted: Vec<Wanted>,
}

/// One wanted platform; a part that is not given matches anything.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

impl PlatformSelection {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Each of `platforms`; one without a variant wants all variants.
    pub fn of_platforms(platforms: &[Platform]) -> Self {
        let wanted = platforms
            .iter()
            .map(|platform| Wanted {
                os: Some(platform.os.clone()),
                architecture: Some(platform.architecture.clone()),
                variant: (!platform.variant.is_empty()).then(|| platform.variant.clone()),
            })
            .collect();
        Self { wanted }
    }

    /// Every combination of the given parts; an empty list leaves its part open.
    pub fn of_parts(oses: &[String], architectures: &[String], variants: &[String]) -> Self {
        let open = |list: &[String]| -> Vec<Option<String>> {
            if list.is_empty() {
                vec![None]
            } else {
                list.iter().cloned().map(Some).collect()
            }
        };
        if oses.is_empty() && architectures.is_empty() && variants.is_empty() {
            return Self::all();
        }
        let mut wanted = Vec::new();
        for os in open(oses) {
            for arch in open(architectures) {
                for variant in open(variants) {
                    wanted.push(Wanted {
                        os: os.clone(),
                        architecture: arch.as_deref().map(architecture),
                        variant,
                    });
                }
            }
        }
        Self { wanted }
    }

    /// Whether everything is wanted.
    pub fn is_all(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Whether `platform` is wanted. A part that the platform leaves empty fits, for it cannot be
    /// told apart; but an [unknown](Platform::is_unknown) platform is nobody's wish.
    pub fn includes(&self, platform: &Platform) -> bool {
        if self.is_all() {
            return true;
        }
        self.wanted.iter().any(|wanted| wanted.is(platform))
    }

    /// What is wanted and none of `platforms` is, each as it prints; nothing where everything is wanted.
    pub fn absent(&self, platforms: &[Platform]) -> Vec<String> {
        self.wanted
            .iter()
            .filter(|wanted| !platforms.iter().any(|platform| wanted.is(platform)))
            .map(ToString::to_string)
            .collect()
    }

    /// Which of `entries` (those of one index) are wanted, by position, in their order.
    ///
    /// Entries that name no platform are kept, since nothing says they are not meant. Attestation
    /// manifests go with the manifest that they attest. `None` when no entry with a platform is
    /// wanted although there are such entries.
    pub fn choose(&self, entries: &[Descriptor]) -> Option<Vec<usize>> {
        if self.is_all() {
            return Some((0..entries.len()).collect());
        }
        let mut named = 0_usize;
        let mut found = 0_usize;
        let mut chosen: Vec<(usize, &Descriptor)> = Vec::new();
        for (position, entry) in entries.iter().enumerate() {
            let keep = match (&entry.platform, attestation(entry)) {
                (_, Some(_)) => false,
                (None, None) => true,
                (Some(platform), None) => {
                    named += 1;
                    let included = self.includes(platform);
                    found += usize::from(included);
                    included
                }
            };
            if keep {
                chosen.push((position, entry));
            }
        }
        if found == 0 && named > 0 {
            return None;
        }
        let mut positions: Vec<usize> = chosen.iter().map(|(position, _)| *position).collect();
        let digests: HashSet<Digest> = chosen.iter().map(|(_, kept)| kept.digest).collect();
        positions.extend(entries.iter().enumerate().filter_map(|(position, entry)| {
            let subject = attestation(entry)?;
            digests.contains(&subject).then_some(position)
        }));
        positions.sort_unstable();
        Some(positions)
    }
}

/// The digest of what an attestation manifest speaks of. An entry with a platform is the image of that
/// platform, and none: an annotation must not bring it along with another.
fn attestation(entry: &Descriptor) -> Option<Digest> {
    let is_image = entry
        .platform
        .as_ref()
        .is_some_and(|platform| !platform.is_unknown());
    if is_image { None } else { entry.attests() }
}

impl Wanted {
    /// Whether `platform` is it; a part that the platform leaves empty fits.
    fn is(&self, platform: &Platform) -> bool {
        let fits = |want: Option<&String>, is: &str, meant: fn(&str) -> String| {
            want.is_none_or(|want| is.is_empty() || meant(want) == meant(is))
        };
        let variants = self.variant.as_deref().is_none_or(|want| {
            variant(&platform.architecture, want)
                == variant(&platform.architecture, &platform.variant)
        });
        !platform.is_unknown()
            && fits(self.os.as_ref(), &platform.os, os)
            && fits(
                self.architecture.as_ref(),
                &platform.architecture,
                architecture,
            )
            && variants
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".to_owned());
        write!(f, "{}/{}", part(&self.os), part(&self.architecture))?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PlatformSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all platforms");
        }
        for (position, wanted) in self.wanted.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            wanted.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn reads_what_people_type() {
        assert_eq!(platform("linux/x86_64"), platform("linux/amd64"));
        assert_eq!(platform("linux/arm/v7").variant, "v7");
        for bad in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "a/b/c/d",
            "Linux/amd64",
            "linux/amd 64",
        ] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_platform_is_told_as_those_tell_it_who_run_images() {
        let read = |text: &str| serde_json::from_str::<Platform>(text).unwrap();
        let amd = PlatformSelection::of_platforms(&[platform("linux/amd64")]);
        for text in [
            r#"{"os":"linux","architecture":"x86_64"}"#,
            r#"{"os":"Linux","architecture":"AMD64"}"#,
            r#"{"os":"linux","architecture":"x86-64","variant":"v1"}"#,
        ] {
            assert!(amd.includes(&read(text)), "{text}");
            assert_eq!(
                read(text).meant(),
                platform("linux/amd64").meant(),
                "{text}"
            );
        }
        let arm = PlatformSelection::of_platforms(&[platform("linux/arm/v7")]);
        assert!(arm.includes(&platform("linux/arm")));
        assert!(arm.includes(&read(
            r#"{"os":"linux","architecture":"arm","variant":"7"}"#
        )));
        assert!(!arm.includes(&platform("linux/arm/v6")));
    }

    #[test]
    fn an_annotation_brings_no_image_of_another_platform_along() {
        let (amd, evil) = (Digest::sha256(b"amd"), Digest::sha256(b"evil"));
        let text = format!(
            r#"[{{"mediaType":"a/b","size":1,"digest":"{amd}","platform":{{"os":"linux","architecture":"amd64"}}}},
                {{"mediaType":"a/b","size":1,"digest":"{evil}","platform":{{"os":"linux","architecture":"s390x"}},
                  "annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"{amd}"}}}}]"#
        );
        let entries: Vec<Descriptor> = serde_json::from_str(&text).unwrap();
        let wanted = PlatformSelection::of_platforms(&[platform("linux/amd64")]);
        assert_eq!(wanted.choose(&entries), Some(vec![0]));
    }

    #[test]
    fn selection_by_parts_and_by_platforms() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let parts =
            PlatformSelection::of_parts(&words(&["linux"]), &words(&["amd64", "aarch64"]), &[]);
        assert!(parts.includes(&platform("linux/arm64/v8")));
        assert!(parts.includes(&platform("linux/amd64/v3")));
        assert!(!parts.includes(&platform("windows/amd64")));
        let exact = PlatformSelection::of_platforms(&[
            platform("linux/arm64/v8"),
            platform("linux/arm/v6"),
        ]);
        assert!(exact.includes(&platform("linux/arm64")));
        assert!(!exact.includes(&platform("linux/arm/v7")));
        assert!(!exact.includes(&Platform::default()));
        assert!(PlatformSelection::all().includes(&Platform::default()));
        assert!(PlatformSelection::of_parts(&[], &[], &[]).is_all());
    }

    #[test]
    fn what_is_wanted_and_not_there_is_named() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let wanted =
            PlatformSelection::of_parts(&words(&["linux"]), &words(&["amd64", "arm64"]), &[]);
        let there = [platform("linux/arm64/v8"), platform("windows/amd64")];
        assert_eq!(wanted.absent(&there), ["linux/amd64"]);
        assert_eq!(wanted.absent(&[]), ["linux/amd64", "linux/arm64"]);
        assert!(PlatformSelection::all().absent(&[]).is_empty());
        let open = PlatformSelection::of_parts(&words(&["plan9"]), &[], &[]);
        assert_eq!(open.absent(&there), ["plan9/*"]);
    }
}
