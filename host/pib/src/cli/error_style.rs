//! How an error is drawn: for a terminal in colours and wrapped, else plain and a sentence on a line.

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

/// How errors are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorStyle {
    is_coloured: bool,
    width: usize,
    is_wrapped: bool,
}

impl ErrorStyle {
    /// Returns the style for standard error.
    pub(super) fn of_terminal() -> Self {
        let terminal = console::Term::stderr();
        Self {
            is_coloured: console::colors_enabled_stderr(),
            width: usize::from(terminal.size().1).clamp(60, 110),
            // A log is searched by the line, so that lines are broken for a person at a terminal only.
            is_wrapped: terminal.is_term(),
        }
    }

    /// Returns an error as text. `number` stands in the place of the sign of an error, where it is one of several.
    pub(super) fn draw(self, error: &dyn Diagnostic, number: Option<&str>) -> String {
        let mut theme = match self.is_coloured {
            true => GraphicalTheme::unicode(),
            false => GraphicalTheme::none(),
        };
        if let Some(number) = number {
            number.clone_into(&mut theme.characters.error);
        }
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(self.width)
            .with_wrap_lines(self.is_wrapped)
            // At spaces only, so that a path or an option can be copied from the message.
            .with_word_separator(textwrap::WordSeparator::AsciiSpace)
            .with_word_splitter(textwrap::WordSplitter::NoHyphenation)
            .with_break_words(false)
            .with_links(false)
            .with_context_lines(2);
        let mut text = String::new();
        match handler.render_report(&mut text, error) {
            Ok(()) => text,
            // A place that is not in its text: the message is still worth having.
            Err(_) => error.to_string(),
        }
    }

    /// Returns the style of a log, which tests read.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self { is_coloured: false, width: 80, is_wrapped: false }
    }
}
