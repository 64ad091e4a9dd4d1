//! What the words of a registry mean where its status does not say it.
//!
//! Codes first, then texts: only those of registries that are named beside them, for a text may change
//! with any version, and a name may hold any word.

use http::{Method, StatusCode};

use super::error::{Error, Words};

impl Error {
    /// Whether a push failed because its project or repository must be made first.
    ///
    /// A registry that knows no such name says so to readers too, and there it is only not found.
    pub fn is_missing_project(&self) -> bool {
        let is_write = self.method == Method::POST || self.method == Method::PUT;
        is_write && self.kind.is_missing_project()
    }

    /// What the words of the registry leave open.
    pub(super) fn hint(&self) -> Option<&'static str> {
        let words = self.kind.words()?;
        if words.is_quota() {
            Some("the quota of the project or namespace is used up")
        } else if self.is_missing_project() {
            Some("the project or repository must exist before anything is pushed to it")
        } else if words.status == StatusCode::PAYLOAD_TOO_LARGE {
            Some("it is beyond a size limit of the registry, or of a proxy in front of it")
        } else {
            None
        }
    }
}

impl Words {
    /// Whether the registry has no room left for whoever asks, which trying again does not change.
    ///
    /// 507 says so itself (RFC 4918, section 11.5); other statuses only with the words of a registry that
    /// is known for them. 429 never does: clouds speak of a quota of requests there.
    pub fn is_quota(&self) -> bool {
        match self.status.as_u16() {
            507 => true,
            400 | 403 | 412 | 413 | 500 => self.says(QUOTA_TEXTS),
            _ => false,
        }
    }

    /// Whether the registry does not know the project or repository that is asked for. At a push that
    /// means that it must be made first; see [`Error::is_missing_project`].
    ///
    /// `NAME_UNKNOWN` is the specification's code, and ECR's answer (containers/skopeo #851). Harbor names
    /// the project, in the words of its source (controller/project), with statuses that differ from version
    /// to version: 401, 404, 500 (goharbor/harbor #966, harbor-helm #849); one that says nothing else is
    /// not known by this.
    pub fn is_missing_project(&self) -> bool {
        match self.status.as_u16() {
            400 | 401 | 403 | 404 | 500 => {
                &*self.code == "NAME_UNKNOWN" || names_missing_project(&self.message)
            }
            _ => false,
        }
    }

    /// Whether the registry says that a tag is there and may not be moved.
    ///
    /// ECR answers 400 with `TAG_INVALID`, or the name that its own API has for it; Harbor 412 and "configured
    /// as immutable" (its source, `middleware/immutable`); Docker Hub 403 (docker/hub-feedback #2466).
    pub fn is_immutable(&self) -> bool {
        match self.status.as_u16() {
            400 | 403 | 409 | 412 => {
                &*self.code == "TAG_INVALID"
                    || self.code.starts_with("ImageTagAlreadyExists")
                    // As a word of its own: it may be part of a name.
                    || self
                        .message
                        .split(|c: char| c.is_whitespace() || matches!(c, '.' | ',' | ';'))
                        .any(|word| word.eq_ignore_ascii_case("immutable"))
            }
            _ => false,
        }
    }

    fn says(&self, texts: &[&str]) -> bool {
        let message = self.message.to_ascii_lowercase();
        texts.iter().any(|text| message.contains(text))
    }

    /// Whether the registry says once and for all what it would otherwise say with a passing status.
    pub(super) fn is_final(&self) -> bool {
        self.is_quota() || self.is_missing_project()
    }
}

/// What registries say when a quota is used up, in lower case.
const QUOTA_TEXTS: &[&str] = &[
    // Harbor, from the first version that had quotas to those of today (goharbor/harbor #8693, #8802,
    // #11712, #18298).
    "over the quota",
    "not enough quota",
    "quota exceeded",
    "will exceed the configured upper limit",
    // Quay (its source, endpoints/v2/errors.py; 403 with DENIED).
    "quota has been exceeded",
];

/// Whether `message` says "project NAME not found", with or without the name.
fn names_missing_project(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.split("project").skip(1).any(|rest| {
        let mut words = rest
            .split(|c: char| c.is_whitespace() || matches!(c, ':' | ',' | '.'))
            .filter(|word| !word.is_empty());
        let next = [words.next(), words.next(), words.next()];
        matches!(
            next,
            [Some("not"), Some("found"), _] | [_, Some("not"), Some("found")]
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::error::ErrorKind;
    use super::*;

    fn words(status: u16, code: &str, message: &str) -> Words {
        Words {
            status: StatusCode::from_u16(status).unwrap(),
            code: code.into(),
            message: message.into(),
        }
    }

    const HARBOR: &str = "adding 29.0 MiB of storage resource, which when updated to current usage of \
        152.4 MiB will exceed the configured upper limit of 10.0 MiB.";

    #[test]
    fn a_quota_that_is_used_up_is_a_refusal_for_good() {
        for (status, code, message) in [
            (403, "DENIED", HARBOR),
            (400, "", HARBOR),
            (412, "PRECONDITION", HARBOR),
            (500, "UNKNOWN", HARBOR),
            (
                500,
                "",
                "Failed to add resources, error: over the quota: used 2 but only hard 1",
            ),
            (
                403,
                "DENIED",
                "Not enough quota available to process the request",
            ),
            (403, "DENIED", "Quota exceeded when processing the request"),
            (403, "DENIED", "Quota has been exceeded on namespace"),
            (413, "", "quota exceeded"),
            (507, "", ""),
        ] {
            let kind = ErrorKind::of_status(words(status, code, message));
            assert!(kind.is_quota(), "{status} {message}");
            assert!(!kind.is_passing(), "{status} {message}");
            assert!(matches!(kind, ErrorKind::Refused(_)), "{status} {message}");
        }
        for (status, code, message) in [
            (403, "DENIED", "requested access to the resource is denied"),
            (413, "SIZE_INVALID", ""),
            (500, "", ""),
            (401, "", HARBOR),
            (404, "NAME_UNKNOWN", "quota"),
            // Clouds call the requests of a minute a quota.
            (
                429,
                "",
                "Quota exceeded for quota metric 'Requests per minute'",
            ),
        ] {
            let kind = ErrorKind::of_status(words(status, code, message));
            assert!(!kind.is_quota(), "{status} {message}");
        }
    }

    #[test]
    fn a_project_that_is_not_there_is_known_by_code_and_by_harbors_words() {
        for (status, code, message) in [
            (404, "NAME_UNKNOWN", ""),
            (
                404,
                "NAME_UNKNOWN",
                "The repository with name 'a/b' does not exist",
            ),
            (404, "NOT_FOUND", "project new not found"),
            (401, "UNAUTHORIZED", "Project not found"),
            (500, "UNKNOWN", "project: new not found."),
            (
                403,
                "DENIED",
                "the project 'new' not found, create it first",
            ),
        ] {
            let kind = ErrorKind::of_status(words(status, code, message));
            assert!(kind.is_missing_project(), "{status} {message}");
            assert!(!kind.is_passing(), "{status} {message}");
        }
        for (status, code, message) in [
            (404, "MANIFEST_UNKNOWN", "manifest unknown"),
            (404, "BLOB_UPLOAD_UNKNOWN", ""),
            (404, "NOT_FOUND", "artifact project/app:1 not found"),
            (401, "UNAUTHORIZED", "authentication required"),
            (500, "UNKNOWN", "internal error"),
            (503, "", "project new not found"),
            (429, "NAME_UNKNOWN", ""),
        ] {
            let kind = ErrorKind::of_status(words(status, code, message));
            assert!(!kind.is_missing_project(), "{status} {message}");
        }
    }

    #[test]
    fn a_credential_that_is_refused_stays_refused_whatever_it_says() {
        let kind = ErrorKind::of_status(words(401, "UNAUTHORIZED", "project new not found"));
        assert!(matches!(kind, ErrorKind::Unauthorized(_)));
        let kind = ErrorKind::of_status(words(500, "", "project new not found"));
        assert!(matches!(kind, ErrorKind::Server(_)));
    }

    #[test]
    fn a_tag_that_may_not_be_moved_is_a_conflict() {
        for (status, code, message) in [
            (400, "TAG_INVALID", ""),
            (400, "ImageTagAlreadyExistsException", ""),
            (
                400,
                "",
                "it cannot be overwritten because the tag is immutable.",
            ),
            (403, "DENIED", "the repository is immutable"),
            (
                412,
                "PRECONDITION",
                "due to 'a/b:1' configured as immutable.",
            ),
            (409, "DENIED", "Immutable tag"),
        ] {
            let kind = ErrorKind::of_status(words(status, code, message));
            assert!(kind.is_immutable(), "{status} {message}");
            assert!(matches!(kind, ErrorKind::Conflict(_)), "{status} {message}");
            assert!(!kind.is_passing());
        }
        for (status, code, message) in [
            (403, "DENIED", "no push to 'team/immutable-infra'"),
            (403, "DENIED", "no push to 'immutable'"),
            (404, "", "immutable"),
            (400, "NAME_INVALID", ""),
        ] {
            let kind = ErrorKind::of_status(words(status, code, message));
            assert!(!kind.is_immutable(), "{status} {message}");
            assert!(!matches!(kind, ErrorKind::Conflict(_)), "{status}");
        }
        // An immutable tag in a project that is full is a matter of room.
        let both = words(412, "", "immutable, and quota exceeded");
        assert!(matches!(ErrorKind::of_status(both), ErrorKind::Refused(_)));
    }
}
