//! The page and the constants say the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Name and value of every limit, as the source has them.
fn written() -> BTreeMap<String, u64> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/limits");
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("tests.rs") {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
    let mut values = BTreeMap::new();
    // Some are products of others.
    for _ in 0..2 {
        for text in &texts {
            for (name, product) in constants(text) {
                let factors = product.split(" * ").map(|factor| {
                    let number = factor.replace('_', "").parse().ok();
                    number.or_else(|| values.get(factor).copied())
                });
                if let Some(value) = factors.product() {
                    values.insert(name.to_owned(), value);
                }
            }
        }
    }
    let count: usize = texts.iter().map(|text| constants(text).count()).sum();
    assert_eq!(
        values.len(),
        count,
        "two of one name, or one not understood"
    );
    values
}

/// The constants of a file, each with its value as it is written. All have a docstring.
fn constants(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = text.lines().zip(text.lines().skip(1));
    pairs.filter_map(|(above, line)| {
        let (name, rest) = line.strip_prefix("pub const ")?.split_once(": ")?;
        assert!(above.starts_with("///"), "`{name}` has no docstring");
        let (_, value) = rest.strip_suffix(';')?.split_once(" = ")?;
        Some((name, value))
    })
}

/// A value as the page has it.
fn shown(name: &str, value: u64) -> String {
    if name.contains("_BYTES_") {
        let units = [(40, "TiB"), (20, "MiB"), (10, "KiB")];
        let unit = units
            .iter()
            .find(|(bits, _)| value.is_multiple_of(1 << bits));
        if let Some((bits, unit)) = unit {
            return format!("{} {unit}", grouped(value >> bits));
        }
        return format!("{} bytes", grouped(value));
    }
    grouped(value)
}

fn grouped(value: u64) -> String {
    match value / 1000 {
        0 => value.to_string(),
        thousands => format!("{},{:03}", grouped(thousands), value % 1000),
    }
}

#[test]
fn the_page_has_every_limit_with_its_value() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/LIMITS.md");
    let page = fs::read_to_string(page).unwrap();
    let mut told = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let columns: Vec<&str> = line.split(" | ").collect();
        assert_eq!(columns.len(), 5, "{line}");
        let name = columns[0].trim_matches(['|', ' ', '`']);
        assert!(
            columns
                .iter()
                .all(|column| !column.trim_matches(['|', ' ']).is_empty()),
            "{line}"
        );
        let old = told.insert(name.to_owned(), columns[1].to_owned());
        assert_eq!(old, None, "`{name}` twice");
    }
    let written: BTreeMap<String, String> = written()
        .into_iter()
        .map(|(name, value)| (name.clone(), shown(&name, value)))
        .collect();
    assert!(written.len() > 50);
    assert_eq!(told, written);
}

#[test]
fn values_are_shown_in_the_largest_unit_that_fits() {
    let bytes = |value| shown("A_BYTES_MAX", value);
    assert_eq!(bytes(4 << 20), "4 MiB");
    assert_eq!(bytes(64 << 40), "64 TiB");
    assert_eq!(bytes(4096), "4 KiB");
    assert_eq!(bytes(4000), "4,000 bytes");
    assert_eq!(shown("A_MAX", 1_000_000), "1,000,000");
    assert_eq!(shown("A_MAX", 64), "64");
}

/// What the source says is what the compiler makes of it.
#[test]
fn the_source_is_read_as_it_is_compiled() {
    let written = written();
    let value = |name: &str| written.get(name).copied();
    assert_eq!(value("BLOB_BYTES_MAX"), Some(super::image::BLOB_BYTES_MAX));
    let excess = u64::try_from(super::serve::EXCESS_BYTES_MAX).unwrap();
    assert_eq!(value("EXCESS_BYTES_MAX"), Some(excess));
    let lines = u64::try_from(super::input::LIST_LINES_MAX).unwrap();
    assert_eq!(value("LIST_LINES_MAX"), Some(lines));
}
