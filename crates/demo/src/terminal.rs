//! Output of the demo: a terminal, on which lines are redrawn in place, or a file or pipe, to which
//! lines are only appended.

use std::io::{IsTerminal as _, Write as _};

use leaves::clock::BootInstant;

/// Default for a terminal that does not report its size.
const USUAL: TerminalSize = TerminalSize {
    lines: 24,
    columns: 80,
};

/// Size of a terminal in lines and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TerminalSize {
    pub(super) lines: usize,
    pub(super) columns: usize,
}

/// Standard output.
#[derive(Debug)]
pub(super) struct Terminal {
    is_live: bool,
    has_colours: bool,
    started: BootInstant,
    /// Number of lines at the bottom that the next draw replaces.
    drawn: usize,
}

/// Style of a text on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextStyle {
    Faint,
    Good,
    Bad,
    Open,
}

impl Terminal {
    pub(super) fn new() -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let is_live = std::io::stdout().is_terminal() && !is_dumb;
        let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            is_live,
            has_colours: is_live && !wants_none,
            started: BootInstant::now(),
            drawn: 0,
        }
    }

    /// Returns whether lines can be redrawn.
    pub(super) fn is_live(&self) -> bool {
        self.is_live
    }

    /// Returns the current size of the terminal.
    pub(super) fn size(&self) -> TerminalSize {
        let told = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        told.filter(|size| size.ws_row > 0 && size.ws_col > 0)
            .map_or(USUAL, |size| TerminalSize {
                lines: size.ws_row.into(),
                columns: size.ws_col.into(),
            })
    }

    /// Prints the current step with the time since the start.
    pub(super) fn print_step(&mut self, text: &str) -> std::io::Result<()> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.print_line(&format!("{seconds:6.1} s  {text}"))
    }

    /// Prints a line permanently.
    pub(super) fn print_line(&mut self, text: &str) -> std::io::Result<()> {
        self.drawn = 0;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Replaces the lines of the last draw.
    pub(super) fn draw(&mut self, lines: &[String]) -> std::io::Result<()> {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        text.push_str("\r\x1b[J");
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = lines.len();
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Returns a text with a style, if the terminal supports styles.
    pub(super) fn styled(&self, text: &str, tone: TextStyle) -> String {
        let code = match tone {
            TextStyle::Faint => "2",
            TextStyle::Good => "32",
            TextStyle::Bad => "31",
            TextStyle::Open => "33",
        };
        if self.has_colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Fits a text to a column: truncates or pads it.
pub(super) fn column(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:width$}");
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_given_width() {
        assert_eq!(column("ab", 4), "ab  ");
        assert_eq!(column("abcd", 4), "abcd");
        assert_eq!(column("abcde", 4), "abc…");
        assert_eq!(column("ab", 0), "…");
    }
}
