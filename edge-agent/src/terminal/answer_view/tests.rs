use super::*;
use proptest::prelude::*;
use std::cell::Cell;
use std::num::NonZeroU16;
use std::rc::Rc;

const STYLED: Kind = Kind::Terminal { has_styles: true };
const MARKED: Kind = Kind::Terminal { has_styles: false };

/// A terminal, written to as through a device that turns line feeds into new lines.
#[derive(Clone)]
struct Terminal(Rc<Cell<Option<vt100::Parser>>>);

fn lines(count: usize) -> NonZeroU16 {
    NonZeroU16::new(u16::try_from(count).unwrap()).unwrap()
}

impl Terminal {
    fn new(rows: usize, columns: usize) -> Self {
        let parser = vt100::Parser::new(lines(rows), lines(columns), 10_000);
        Self(Rc::new(Cell::new(Some(parser))))
    }

    fn with<T>(&self, does: impl FnOnce(&mut vt100::Parser) -> T) -> T {
        let mut parser = self.0.take().unwrap();
        let done = does(&mut parser);
        self.0.set(Some(parser));
        done
    }

    fn size(&self) -> Size {
        let (rows, columns) = self.with(|parser| parser.screen().size());
        Size {
            rows: rows.get().into(),
            columns: columns.get().into(),
        }
    }

    fn resize(&self, rows: usize, columns: usize) {
        self.with(|parser| parser.set_size(lines(rows), lines(columns)));
    }

    /// Every row that there has ever been, without empty ones at the end.
    fn rows(&self) -> Vec<String> {
        self.with(|parser| {
            let columns = parser.screen().size().1.get();
            let screen = parser.screen_mut();
            screen.set_scrollback(usize::MAX);
            let mut all = Vec::new();
            for above in (1..=screen.scrollback()).rev() {
                screen.set_scrollback(above);
                all.extend(screen.rows(0, columns).next());
            }
            screen.set_scrollback(0);
            all.extend(screen.rows(0, columns));
            while all.last().is_some_and(|row| row.trim().is_empty()) {
                all.pop();
            }
            all
        })
    }

    fn last_row(&self) -> String {
        self.with(|parser| {
            let columns = parser.screen().size().1.get();
            let last = parser.screen().rows(0, columns).last().unwrap();
            last.trim_end().to_owned()
        })
    }

    fn view(&self, kind: Kind) -> AnswerView<Self, impl Fn() -> Option<Size> + use<>> {
        let terminal = self.clone();
        AnswerView::new(self.clone(), kind, move || Some(terminal.size()))
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).unwrap().replace('\n', "\r\n");
        self.with(|parser| {
            for (at, part) in text.split(SAVE_CURSOR).enumerate() {
                if at > 0 {
                    // Not every terminal restores a cursor that is behind the last column.
                    let columns = parser.screen().size().1.get();
                    assert!(parser.screen().cursor_position().1 < columns);
                    parser.process(SAVE_CURSOR.as_bytes());
                }
                parser.process(part.as_bytes());
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The rows of a terminal that shows this text and nothing else.
fn text_alone(rows: usize, columns: usize, text: &str) -> Vec<String> {
    let mut terminal = Terminal::new(rows, columns);
    terminal.write_all(text.as_bytes()).unwrap();
    terminal.rows()
}

#[test]
fn a_full_row_leaves_the_cursor_behind_it() {
    let mut terminal = Terminal::new(3, 16);
    terminal.write_all(&[b'a'; 16]).unwrap();
    assert_eq!(
        terminal.with(|parser| parser.screen().cursor_position()),
        (0, 16)
    );
}

#[test]
fn figures_stand_in_the_last_row_and_leave_with_the_answer() {
    let mut terminal = Terminal::new(6, 40);
    terminal.write_all(b"> Hello?\n").unwrap();
    let mut view = terminal.view(STYLED);
    view.show_figures("0.1 s".to_owned()).unwrap();
    assert_eq!(terminal.last_row(), "0.1 s");
    view.say("Hello.\nHow ").unwrap();
    view.show_figures("3 tokens  25.0/s".to_owned()).unwrap();
    view.say("are you?").unwrap();
    assert_eq!(terminal.last_row(), "3 tokens  25.0/s");
    let shown = [
        "> Hello?",
        "Hello.",
        "How are you?",
        "",
        "",
        "3 tokens  25.0/s",
    ];
    assert_eq!(terminal.rows(), shown);
    drop(view);
    assert_eq!(terminal.rows(), shown[..3]);
    // What comes next stands behind the answer.
    terminal.write_all(b"\n> ").unwrap();
    assert_eq!(terminal.rows()[3], "> ");
    assert_eq!(
        terminal.with(|parser| parser.screen().cursor_position()),
        (3, 2)
    );
}

#[test]
fn a_long_answer_scrolls_above_the_figures() {
    let text: String = (0..400).map(|at| format!("word {at}, ")).collect();
    for columns in [16, 17, 33, 80] {
        let terminal = Terminal::new(5, columns);
        let mut view = terminal.view(STYLED);
        for (at, word) in text.split_inclusive(' ').enumerate() {
            view.say(word).unwrap();
            let figures = format!("{at} tokens and whatever else there is to say");
            view.show_figures(figures.clone()).unwrap();
            assert_eq!(terminal.last_row(), cut(&figures, columns - 1).trim_end());
        }
        view.end().unwrap();
        assert_eq!(terminal.rows(), text_alone(5, columns, &text));
    }
}

#[test]
fn a_terminal_without_room_shows_the_text_alone() {
    for (rows, columns) in [(2, 40), (24, 10)] {
        let terminal = Terminal::new(rows, columns);
        let mut view = terminal.view(STYLED);
        view.show_figures("figures".to_owned()).unwrap();
        view.say("some words\nof text that is long").unwrap();
        let alone = text_alone(rows, columns, "some words\nof text that is long");
        let shown = terminal.rows();
        assert!(shown.iter().all(|row| !row.contains("figures")));
        view.end().unwrap();
        assert_eq!(terminal.rows(), alone);
    }
}

#[test]
fn figures_move_with_the_last_row() {
    let terminal = Terminal::new(6, 40);
    let mut view = terminal.view(STYLED);
    view.show_figures("1 token".to_owned()).unwrap();
    for (rows, columns) in [(9, 40), (7, 60), (8, 30), (24, 80)] {
        terminal.resize(rows, columns);
        view.show_figures("1 token".to_owned()).unwrap();
        assert_eq!(terminal.last_row(), "1 token");
        view.say(&format!("now {rows}\n")).unwrap();
        assert_eq!(terminal.last_row(), "1 token");
    }
    view.end().unwrap();
    assert_eq!(terminal.rows(), ["now 9", "now 7", "now 8", "now 24"]);
}

#[test]
fn thoughts_are_dimmed_or_marked() {
    let dims = |kind| {
        let terminal = Terminal::new(8, 40);
        let mut view = terminal.view(kind);
        view.think("Let me").unwrap();
        view.think(" see.").unwrap();
        view.say("Yes.").unwrap();
        view.end().unwrap();
        let dim =
            |row, column| terminal.with(|parser| parser.screen().cell(row, column).unwrap().dim());
        (terminal.rows(), dim(0, 1), dim(2, 0))
    };
    let words = |first: &str| vec![first.to_owned(), String::new(), "Yes.".to_owned()];
    assert_eq!(dims(STYLED), (words("Let me see."), true, false));
    assert_eq!(
        dims(MARKED),
        (words("<think>Let me see.</think>"), false, false)
    );
    let terminal = Terminal::new(8, 40);
    let mut view = terminal.view(MARKED);
    view.think("Let me").unwrap();
    drop(view);
    assert_eq!(terminal.rows(), ["<think>Let me</think>"]);
}

#[test]
fn what_a_terminal_would_act_upon_is_left_out() {
    let terminal = Terminal::new(4, 40);
    let mut view = terminal.view(STYLED);
    view.say("a\x1b[2Jb\x07\u{9b}31mc\r\nd\te").unwrap();
    view.end().unwrap();
    assert_eq!(terminal.rows(), ["a[2Jb31mc", "d       e"]);
}

#[test]
fn a_pipe_gets_what_is_said_as_it_is_and_nothing_else() {
    let mut out = Vec::new();
    let mut view = AnswerView::new(&mut out, Kind::Plain, || {
        Some(Size {
            rows: 24,
            columns: 80,
        })
    });
    view.think("Hm.").unwrap();
    view.show_figures("1 token".to_owned()).unwrap();
    view.say("a\x1b[1mb\n").unwrap();
    view.end().unwrap();
    drop(view);
    assert_eq!(out, b"a\x1b[1mb\n");
}

proptest! {
    /// Rows that are filled to the last column, wide characters, marks on top of others, and figures at any time.
    #[test]
    fn text_is_what_it_would_be_alone(
        pieces in prop::collection::vec("[ab \n\u{301}界]{0,9}", 1..60),
        rows in 3_usize..7,
        columns in 16_usize..21,
    ) {
        let terminal = Terminal::new(rows, columns);
        let mut view = terminal.view(STYLED);
        for (at, piece) in pieces.iter().enumerate() {
            view.say(piece).unwrap();
            if at % 3 == 0 {
                view.show_figures(format!("{at} figures of any length")).unwrap();
            }
            let figures = format!("{} figures of any length", at / 3 * 3);
            prop_assert_eq!(terminal.last_row(), cut(&figures, columns - 1).trim_end());
        }
        view.end().unwrap();
        prop_assert_eq!(terminal.rows(), text_alone(rows, columns, &pieces.concat()));
    }
}
