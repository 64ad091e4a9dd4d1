//! The `Range` header of a request, as far as clients of registries use it.

/// What a `Range` header asks of so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    /// All of them; also where the header is none that is understood (RFC 9110, section 14.2).
    Whole,
    /// From the first to before the second.
    Part(u64, u64),
    /// Nothing that there is.
    Beyond,
}

impl Range {
    /// Several ranges in one header are not understood.
    pub(crate) fn read(text: &str, length: u64) -> Self {
        let spec = text.strip_prefix("bytes=").and_then(|s| s.split_once('-'));
        let Some((first, last)) = spec else {
            return Self::Whole;
        };
        match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), _) if first >= length => Self::Beyond,
            (Ok(first), Ok(last)) if first <= last => {
                Self::Part(first, last.saturating_add(1).min(length))
            }
            (Ok(first), Err(_)) if last.is_empty() => Self::Part(first, length),
            (Err(_), Ok(0)) if first.is_empty() => Self::Beyond,
            (Err(_), Ok(last)) if first.is_empty() => {
                Self::Part(length.saturating_sub(last), length)
            }
            _ => Self::Whole,
        }
    }
}
