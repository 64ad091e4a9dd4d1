//! What becomes of a name: found out with skopeo 1.22, and checked with the skopeo that is there.

use super::Seen;

/// Who is asked, and whose image comes.
type Answer = (&'static [&'static str], Option<char>);

/// Files, a name, and what is asked and comes.
pub(super) struct Row {
    /// What it shows; unique.
    pub(super) what: &'static str,
    /// Names below `containers`, and what stands in them.
    pub(super) files: Vec<(&'static str, &'static str)>,
    /// What is read.
    pub(super) image: &'static str,
    /// Whether certificates are checked, and plain HTTP is not spoken, unless a file says so.
    pub(super) verifies: bool,
    /// What our own program says.
    pub(super) said: &'static [&'static str],
    theirs: Answer,
    ours: Option<Answer>,
}

impl Row {
    /// A name for a repository.
    pub(super) fn name(&self) -> String {
        let text = self.what.to_lowercase();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        words.join("-")
    }

    /// What is expected of skopeo.
    pub(super) fn expected(&self) -> Seen {
        let (asked, came) = self.theirs;
        let asked = asked.iter().map(ToString::to_string).collect();
        Seen { asked, came }
    }

    /// What is expected of our own program.
    pub(super) fn expected_here(&self) -> Seen {
        let (asked, came) = self.ours.unwrap_or(self.theirs);
        let asked = asked.iter().map(ToString::to_string).collect();
        Seen { asked, came }
    }

    const fn comes(mut self, asked: &'static [&'static str], whose: char) -> Self {
        self.theirs = (asked, Some(whose));
        self
    }

    const fn fails(mut self, asked: &'static [&'static str]) -> Self {
        self.theirs = (asked, None);
        self
    }

    /// It is another thing here.
    const fn but_here(mut self, asked: &'static [&'static str], whose: Option<char>) -> Self {
        self.ours = Some((asked, whose));
        self
    }

    const fn saying(mut self, words: &'static [&'static str]) -> Self {
        self.said = words;
        self
    }

    const fn verifying(mut self) -> Self {
        self.verifies = true;
        self
    }

    fn with(mut self, name: &'static str, text: &'static str) -> Self {
        self.files.push((name, text));
        self
    }
}

/// A row with the file that a user has.
fn row(what: &'static str, file: &'static str, image: &'static str) -> Row {
    Row {
        what,
        files: vec![("registries.conf", file)],
        image,
        verifies: false,
        said: &[],
        theirs: (&[], None),
        ours: None,
    }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = locations();
    rows.extend(names());
    rows.extend(mirrors());
    rows.extend(blocks());
    rows.extend(certificates());
    rows.extend(files());
    rows
}

fn locations() -> Vec<Row> {
    vec![
        row(
            "no table fits",
            "[[registry]]\nlocation = '{b}'\n",
            "{a}/ns/app:1",
        )
        .comes(&["a ns/app"], 'a'),
        row(
            "another location",
            "[[registry]]\nprefix = '{a}'\nlocation = '{b}'\n",
            "{a}/ns/app:1",
        )
        .comes(&["b ns/app"], 'b'),
        row(
            "another location for a namespace",
            "[[registry]]\nprefix = '{a}/ns'\nlocation = '{b}/m/ns/'\n",
            "{a}/ns/app:1",
        )
        .comes(&["b m/ns/app"], 'b'),
        row(
            "another location for a repository",
            "[[registry]]\nprefix = '{a}/ns/app'\nlocation = '{b}/app'\n",
            "{a}/ns/app@DIGEST",
        )
        .comes(&["b app"], '='),
        row(
            "the longest prefix counts",
            "[[registry]]\nprefix = '{a}/ns/app'\nlocation = '{c}/app'\n\
             [[registry]]\nprefix = '{a}'\nlocation = '{b}'\n",
            "{a}/ns/app:1",
        )
        .comes(&["c app"], 'c'),
        row(
            "the first of two with one prefix counts",
            "[[registry]]\nprefix = '{a}'\nlocation = '{b}'\n\
             [[registry]]\nprefix = '{a}'\nlocation = '{c}'\n",
            "{a}/ns/app:1",
        )
        .comes(&["b ns/app"], 'b'),
        row(
            "a location is not looked up again",
            "[[registry]]\nprefix = '{a}'\nlocation = '{b}'\n\
             [[registry]]\nprefix = '{b}'\nlocation = '{c}'\n",
            "{a}/ns/app:1",
        )
        .comes(&["b ns/app"], 'b'),
        row(
            "a location that makes no name",
            "[[registry]]\nprefix = '{a}'\nlocation = '{b}/Upper'\n",
            "{a}/ns/app:1",
        )
        .fails(&[])
        .saying(&["registries.conf", "Upper/ns/app:1"]),
    ]
}

fn names() -> Vec<Row> {
    vec![
        row(
            "a part of a name is no prefix",
            "[[registry]]\nprefix = '{a}/n'\nlocation = '{b}/n'\n",
            "{a}/ns/app:1",
        )
        .comes(&["a ns/app"], 'a'),
        row(
            "a wildcard",
            "[[registry]]\nprefix = '*.registry.test'\nlocation = '{b}'\n",
            "deep.a.registry.test/ns/app:1",
        )
        .comes(&["b ns/app"], 'b'),
        row(
            "of two equally long the first by name counts",
            "[[registry]]\nprefix = 'a.registry.test'\nlocation = '{c}'\n\
             [[registry]]\nprefix = '*.registry.test'\nlocation = '{b}'\n",
            "a.registry.test/ns/app:1",
        )
        .comes(&["b ns/app"], 'b'),
        row(
            "Docker Hub is written out",
            "[[registry]]\nprefix = 'docker.io/library'\nlocation = '{b}/ns'\n",
            "app:1",
        )
        .comes(&["b ns/app"], 'b'),
        // The manual has prefixes with tags; skopeo looks for names without them.
        row(
            "a prefix with a tag",
            "[[registry]]\nprefix = '{a}/ns/app:1'\nlocation = '{b}/app:1'\n",
            "{a}/ns/app:1",
        )
        .comes(&["a ns/app"], 'a')
        .but_here(&["b app"], Some('b')),
        // containers/image calls this match unintended; here a registry is exact on host and port.
        row(
            "a host is not the host with a port",
            "[[registry]]\nprefix = '127.0.0.1'\nlocation = '{b}'\n",
            "{a}/ns/app:1",
        )
        .fails(&[])
        .but_here(&["a ns/app"], Some('a')),
    ]
}

fn mirrors() -> Vec<Row> {
    const KINDS: &str = "[[registry]]\nlocation = '{a}'\n\
        [[registry.mirror]]\nlocation = '{b}'\npull-from-mirror = 'digest-only'\n\
        [[registry.mirror]]\nlocation = '{c}/m'\npull-from-mirror = 'tag-only'\n";
    const OLD: &str = "[[registry]]\nlocation = '{a}'\nmirror-by-digest-only = true\n\
        [[registry.mirror]]\nlocation = '{b}'\n";
    vec![
        row(
            "a mirror comes first",
            "[[registry]]\nlocation = '{a}'\n[[registry.mirror]]\nlocation = '{b}'\n\
             [[registry.mirror]]\nlocation = '{c}'\n",
            "{a}/ns/app:1",
        )
        .comes(&["b ns/app"], 'b'),
        row(
            "a mirror that lacks the image",
            "[[registry]]\nlocation = '{a}'\n[[registry.mirror]]\nlocation = '{e}'\n\
             [[registry.mirror]]\nlocation = '{c}/m'\n",
            "{a}/ns/app:1",
        )
        .comes(&["c m/ns/app", "e ns/app"], 'c'),
        row(
            "no mirror has it",
            "[[registry]]\nprefix = '{c}'\nlocation = '{a}'\n[[registry.mirror]]\nlocation = '{e}'\n",
            "{c}/ns/app:1",
        )
        .comes(&["a ns/app", "e ns/app"], 'a'),
        row(
            "nobody has it",
            "[[registry]]\nlocation = '{a}'\n[[registry.mirror]]\nlocation = '{e}'\n",
            "{a}/ns/other:1",
        )
        .fails(&["a ns/other", "e ns/other"]),
        row(
            "a mirror that is not there",
            "[[registry]]\nlocation = '{a}'\n[[registry.mirror]]\nlocation = '127.0.0.1:1'\n",
            "{a}/ns/app:1",
        )
        .comes(&["a ns/app"], 'a'),
        row("a mirror for tags", KINDS, "{a}/ns/app:1").comes(&["c m/ns/app"], 'c'),
        row("a mirror for digests", KINDS, "{a}/ns/app@DIGEST").comes(&["b ns/app"], '='),
        row("by digest only, a tag", OLD, "{a}/ns/app:1").comes(&["a ns/app"], 'a'),
        row("by digest only, a digest", OLD, "{a}/ns/app@DIGEST").comes(&["b ns/app"], '='),
    ]
}

fn blocks() -> Vec<Row> {
    vec![
        row(
            "blocked",
            "[[registry]]\nlocation = '{a}'\nblocked = true\n",
            "{a}/ns/app:1",
        )
        .fails(&[])
        .saying(&["registries.conf", "blocks"]),
        row(
            "blocked, in capitals",
            "[[registry]]\nLocation = '{a}'\nBLOCKED = true\n",
            "{a}/ns/app:1",
        )
        .fails(&[]),
        row(
            "a longer prefix is not blocked",
            "[[registry]]\nlocation = '{a}'\nblocked = true\n[[registry]]\nlocation = '{a}/ns'\n",
            "{a}/ns/app:1",
        )
        .comes(&["a ns/app"], 'a'),
        row(
            "blocked, and a mirror has it",
            "[[registry]]\nlocation = '{a}'\nblocked = true\n[[registry.mirror]]\nlocation = '{b}'\n",
            "{a}/ns/app:1",
        )
        .comes(&["b ns/app"], 'b'),
        row(
            "blocked, and no mirror has it",
            "[[registry]]\nlocation = '{a}'\nblocked = true\n[[registry.mirror]]\nlocation = '{e}'\n",
            "{a}/ns/app:1",
        )
        .fails(&["e ns/app"]),
        row(
            "a mirror that is blocked",
            "[[registry]]\nlocation = '{a}'\n[[registry.mirror]]\nlocation = '{b}'\n\
             [[registry]]\nlocation = '{b}'\nblocked = true\n",
            "{a}/ns/app:1",
        )
        .comes(&["a ns/app"], 'a'),
        // skopeo compares the name that it asks for; the manual forbids the names that fit the prefix.
        row(
            "blocked, with another location",
            "[[registry]]\nprefix = '{a}'\nlocation = '{b}'\nblocked = true\n",
            "{a}/ns/app:1",
        )
        .comes(&["b ns/app"], 'b')
        .but_here(&[], None),
    ]
}

fn certificates() -> Vec<Row> {
    vec![
        row("a certificate that nobody knows", "", "{t}/ns/app:1")
            .fails(&[])
            .verifying(),
        row(
            "insecure",
            "[[registry]]\nlocation = '{t}'\ninsecure = true\n",
            "{t}/ns/app:1",
        )
        .comes(&["t ns/app"], 't')
        .verifying(),
        row(
            "an insecure mirror",
            "[[registry]]\nlocation = 'registry.test'\n\
             [[registry.mirror]]\nlocation = '{t}/m'\ninsecure = true\n",
            "registry.test/ns/app:1",
        )
        .comes(&["t m/ns/app"], 't')
        .verifying(),
        row(
            "a mirror is not insecure because its registry is",
            "[[registry]]\nlocation = '{b}'\ninsecure = true\n[[registry.mirror]]\nlocation = '{t}'\n",
            "{b}/ns/app:1",
        )
        .comes(&["b ns/app"], 'b')
        .verifying(),
    ]
}

fn files() -> Vec<Row> {
    const TO_B: &str = "[[registry]]\nprefix = '{a}'\nlocation = '{b}'\n";
    const TO_C: &str = "[[registry]]\nprefix = '{a}'\nlocation = '{c}'\n";
    const ONE: &str = "registries.conf.d/1.conf";
    vec![
        row("a drop-in", TO_B, "{a}/ns/app:1")
            .with(ONE, TO_C)
            .comes(&["c ns/app"], 'c'),
        row("the last drop-in", "", "{a}/ns/app:1")
            .with("registries.conf.d/10.conf", TO_C)
            .with("registries.conf.d/9.conf", TO_B)
            .comes(&["b ns/app"], 'b'),
        row("what is no drop-in", TO_B, "{a}/ns/app:1")
            .with("registries.conf.d/1.toml", TO_C)
            .with("registries.conf.d/sub/1.conf", TO_C)
            .comes(&["b ns/app"], 'b'),
        row("a drop-in adds", TO_B, "{c}/ns/app:1")
            .with(ONE, "[[registry]]\nprefix = '{c}'\nlocation = '{a}'\n")
            .comes(&["a ns/app"], 'a'),
        row(
            "a drop-in replaces all of a table",
            "[[registry]]\nlocation = '{a}'\nblocked = true\n",
            "{a}/ns/app:1",
        )
        .with(ONE, "[[registry]]\nlocation = '{a}'\n")
        .comes(&["a ns/app"], 'a'),
        row("broken TOML", "[[registry]\n", "{a}/ns/app:1").fails(&[]),
        row("a drop-in of version 1", "", "{a}/ns/app:1")
            .with(ONE, "[registries.search]\nregistries = ['registry.test']\n")
            .fails(&[])
            .saying(&["1.conf", "version 1"]),
    ]
}
