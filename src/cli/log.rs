//! The log of what the program does: warnings, and with `--debug` requests and decisions.

use std::fmt;
use std::io;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::args::{General, LogFormat};

/// Sets it up: warnings alone unless more is asked for.
pub(super) fn log(general: &General) {
    let default = if general.debug {
        "consign=debug"
    } else {
        "consign=warn"
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(default))
        .with_writer(io::stderr)
        .with_ansi(false);
    match (general.log_format, general.debug) {
        (LogFormat::Text, true) => builder.init(),
        (LogFormat::Text, false) => builder.event_format(ForPeople).init(),
        (LogFormat::Json, _) => builder.json().init(),
    }
}

/// Warnings in the words of all other messages: neither time nor module.
struct ForPeople;

impl<S, N> FormatEvent<S, N> for ForPeople
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let word = if *event.metadata().level() == Level::ERROR {
            "error"
        } else {
            "warning"
        };
        write!(writer, "{word}: ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
