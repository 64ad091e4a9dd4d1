use std::sync::Mutex;

use indicatif::TermLike;

use super::super::tests::{assorted, denied, finished, plan_of, run_of, tell};
use super::*;
use crate::event::{Note, Side, Stage, Validation};

/// What a run of `outcomes` says in lines, without how long the whole took.
fn said(plan: &Arc<Plan>, outcomes: &[Outcome], end: End, colour: Colour) -> String {
    let mut out = Vec::new();
    let meter = Arc::new(Meter::new());
    let mut terminal = Terminal::new(&mut out, plan, &meter, colour)
        .with_failed_list(Path::new("mirror-failed.txt"));
    tell(&mut terminal, &run_of(outcomes, 0, end));
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<String> = text
        .lines()
        .map(
            |line| match (line.split_once(" in "), line.split_once("s: ")) {
                (Some((before, _)), Some((_, after))) if !line.contains("images.txt") => {
                    format!("{before} in TIME: {after}")
                }
                _ => line.to_owned(),
            },
        )
        .collect();
    lines.join("\n")
}

#[test]
fn each_line_is_told_where_there_is_no_terminal() {
    let (plan, outcomes) = assorted();
    let text = said(&plan, &outcomes, End::Interrupted, Colour::Never);
    let digest = |bytes: &[u8]| crate::oci::Digest::sha256(bytes);
    assert_eq!(
        text,
        format!(
            "[1/5] images.txt:1: copied `q.io/a/one:1` to `d.io/a/one:1` (12.30 MiB of 5 blobs, 2 \
             mounted, new digest: an index of the selected platforms, 3s 200ms)\n\
             images.txt:2: cannot transfer `docker.io/library/nginx:1.27`\n  \
             caused by: destination refused a blob (403 after 1 attempt)\n  \
             caused by: DENIED: access is denied\n  \
             hint: log in to `d.io` with push rights to `library/nginx`; some registries also say \
             this of what does not exist\n\
             [3/5] images.txt:3: a duplicate: `q.io/a/one:1` to `d.io/a/one:1` (see images.txt:1)\n\
             [4/5] images.txt:4: kept `q.io/a/kept:1` to `d.io/a/kept:1` (has `{}`, the source \
             `{}`)\n\
             interrupted 5 lines in TIME: 1 copied, 1 kept, 1 duplicate, 1 failed, 1 not tried\n  \
             moved 12.30 MiB of 5 blobs, 2 mounted\n  \
             1 image under a new digest, since only some platforms were asked for\n  \
             reasons: 1 unauthorized, 1 cancelled\n  \
             what is left to do is in `mirror-failed.txt`",
            digest(b"other"),
            digest(b"q.io/a/kept:1")
        )
    );
}

#[test]
fn colours_only_where_asked_for() {
    let (plan, outcomes) = assorted();
    let bare = said(&plan, &outcomes, End::Completed, Colour::Never);
    let coloured = said(&plan, &outcomes, End::Completed, Colour::Always);
    assert!(!bare.contains('\u{1b}'));
    let stripped = ["\u{1b}[31m", "\u{1b}[36m", "\u{1b}[0m"]
        .iter()
        .fold(coloured.clone(), |text, code| text.replace(code, ""));
    assert_ne!(coloured, bare);
    assert_eq!(stripped, bare);
}

#[test]
fn what_ended_many_lines_is_told_once() {
    let plan = plan_of("q.io/a:1\nq.io/b:1\nq.io/c:1\n");
    let gone = Outcome::NotTried(Failure::because(
        Stage::Preflight,
        Some(Side::Source),
        Kind::Network,
        "`q.io` cannot be reached",
    ));
    let text = said(
        &plan,
        &[gone.clone(), gone.clone(), gone],
        End::Completed,
        Colour::Never,
    );
    assert_eq!(text.matches("cannot be reached").count(), 1);
    assert!(text.contains("3 not tried"));
}

#[test]
fn notes_are_told_and_the_way_is_not() {
    let (plan, _) = assorted();
    let mut out = Vec::new();
    let mut terminal = Terminal::new(&mut out, &plan, &Arc::new(Meter::new()), Colour::Never);
    let job = JobId::new(1);
    for note in [
        Note::Entered(Stage::Transfer),
        Note::SignaturesLeft { count: 1 },
        Note::remark("a\u{1b}[2J\nb"),
    ] {
        terminal.event(&Event::Noted { job, note }).unwrap();
    }
    terminal.tick().unwrap();
    terminal.spoke = Instant::now().checked_sub(SILENCE_MAX).unwrap();
    terminal.tick().unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "images.txt:2: note: 1 signature left behind, as asked\n\
         images.txt:2: note: a\u{fffd}[2J b\n\
         [0/5] going on: 0 B moved, 0 blobs moving\n"
    );
}

/// A terminal that only remembers what was drawn.
#[derive(Debug, Clone, Default)]
struct Screen(Arc<Mutex<String>>);

impl Screen {
    fn push(&self, text: &str) {
        self.0.lock().unwrap().push_str(text);
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        120
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.push(text);
        self.push("\n");
        Ok(())
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.push(text);
        Ok(())
    }
    fn clear_line(&self) -> io::Result<()> {
        self.push("<clear>");
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn bars_show_what_runs_and_only_failures_are_printed() {
    let list: Vec<String> = (0..20).map(|i| format!("q.io/a/x{i}:1")).collect();
    let plan = plan_of(&list.join("\n"));
    let screen = Screen::default();
    let meter = Arc::new(Meter::new());
    let mut out = Vec::new();
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
    let mut terminal = Terminal::new(&mut out, &plan, &meter, Colour::Never).with_bars_on(target);
    terminal
        .event(&Event::Began {
            jobs: 20,
            warnings: Vec::new(),
        })
        .unwrap();
    for job in 0..12 {
        terminal
            .event(&Event::Started {
                job: JobId::new(job),
            })
            .unwrap();
    }
    terminal
        .event(&Event::Noted {
            job: JobId::new(0),
            note: Note::Entered(Stage::Transfer),
        })
        .unwrap();
    meter.expect(4096);
    meter.moved(1024);
    terminal.tick().unwrap();
    for job in 0..4 {
        let copied = super::super::tests::copied(&plan, job);
        terminal
            .event(&finished(job, Outcome::Copied(copied)))
            .unwrap();
    }
    terminal
        .event(&finished(4, Outcome::Failed(denied())))
        .unwrap();
    // What was wanted and is not there is said all the same.
    let image = super::super::tests::copied(&plan, 5).image;
    for (job, absent) in [(5, "linux/s390x"), (6, "")] {
        let absent = Some(absent.to_owned()).filter(|text| !text.is_empty());
        let validation = Validation {
            image: image.clone(),
            checked: Vec::new(),
            unchecked: Vec::new(),
            absent: absent.into_iter().collect(),
        };
        let accepted = Outcome::Accepted(Box::new(validation));
        terminal.event(&finished(job, accepted)).unwrap();
    }
    terminal.tick().unwrap();
    terminal
        .event(&Event::Ended {
            summary: Summary::default(),
            end: End::Completed,
        })
        .unwrap();
    let drawn = screen.0.lock().unwrap().clone();
    for part in [
        "0/20 images, 1.00 KiB of 4.00 KiB",
        "  transfer  q.io/a/x0:1",
        "  resolve   q.io/a/x1:1",
        "  and 5 more",
        "7/20 images",
        "1 failed",
        "[===>",
    ] {
        assert!(drawn.contains(part), "{part} is not in {drawn}");
    }
    assert!(!drawn.contains('\u{1b}'));
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("images.txt:5: cannot transfer"));
    assert!(!text.contains("copied `"));
    assert!(text.contains("absent: linux/s390x"), "{text}");
    assert_eq!(text.matches("accepted").count(), 1, "{text}");
    assert!(text.contains("finished 0 lines"));
}
