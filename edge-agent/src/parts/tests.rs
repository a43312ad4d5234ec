use super::*;

fn splitter(format: CallFormat) -> Splitter {
    Splitter::new()
        .with_reasoning(false)
        .with_calls(callable(format))
}

fn callable(format: CallFormat) -> Callable {
    let functions = ["add", "weather"].map(str::to_owned);
    Callable {
        format,
        functions: Arc::new(functions.into()),
        only_one: false,
    }
}

/// What comes of a text, in pieces of so many characters: what is thought, what is said, and calls.
fn split(splitter: Splitter, text: &str, length: usize) -> Parts {
    split_to(splitter, text, length, false)
}

type Parts = (String, String, Vec<(String, String)>);

/// The same of an answer that is cut, or not.
fn split_to(mut splitter: Splitter, text: &str, length: usize, cut: bool) -> Parts {
    let characters: Vec<char> = text.chars().collect();
    let pieces = characters.chunks(length);
    let mut parts: Vec<Part> = pieces
        .flat_map(|piece| splitter.feed(&piece.iter().collect::<String>()))
        .collect();
    parts.extend(splitter.end(cut));
    let mut all = (String::new(), String::new(), Vec::new());
    for part in parts {
        match part {
            Part::Reasoning(text) => all.0 += &text,
            Part::Content(text) => all.1 += &text,
            Part::Call(call) => all.2.push((call.name, call.arguments)),
            Part::CallPiece(CallPiece::Begins { name, .. }) => {
                all.2.push((name, String::new()));
            }
            Part::CallPiece(CallPiece::Arguments(text)) => all.2.last_mut().unwrap().1 += &text,
            Part::CallPiece(CallPiece::Ends) => {}
        }
    }
    assert_eq!(splitter.has_called(), !all.2.is_empty());
    all
}

fn check(format: CallFormat, text: &str, expected: (&str, &str, &[(&str, &str)])) {
    let calls: Vec<(String, String)> = (expected.2.iter())
        .map(|&(name, arguments)| (name.to_owned(), arguments.to_owned()))
        .collect();
    let expected = (expected.0.to_owned(), expected.1.to_owned(), calls);
    for length in [1, 2, 3, 7, 1000] {
        for splitter in [splitter(format), splitter(format).in_pieces()] {
            let found = split(splitter, text, length);
            assert_eq!(found, expected, "{length}: {text}");
        }
    }
}

#[test]
fn hermes_calls_stand_between_marks() {
    let one = "{\"name\": \"add\", \"arguments\": {\"b\": 1, \"a\": [2]}}";
    check(
        CallFormat::Hermes,
        &format!(
            "I add.\n<tool_call>\n{one}\n</tool_call>\n<tool_call>{{\"name\": \"weather\"}}</tool_call>\n"
        ),
        (
            "",
            "I add.",
            &[("add", "{\"b\": 1, \"a\": [2]}"), ("weather", "{}")],
        ),
    );
    // Without an end, at the end.
    check(
        CallFormat::Hermes,
        &format!("<tool_call>{one}"),
        ("", "", &[("add", "{\"b\": 1, \"a\": [2]}")]),
    );
}

#[test]
fn what_is_no_call_stays_text() {
    for text in [
        "no call at all",
        "a < b, and <tool, and <tool_call",
        "<tool_call>not JSON</tool_call>",
        "<tool_call>{\"name\": \"stranger\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"add\"",
        "no object:\n <tool_call>{\"name\": \"add\", \"arguments\": \"two\"}</tool_call>",
        "  spaces at both ends \n",
    ] {
        check(CallFormat::Hermes, text, ("", text, &[]));
    }
    for text in [
        "{\"answer\": 42}",
        "{\"name\": \"add\"} and more",
        "{",
        "[1, 2]",
        "[{\"name\": \"x\"}]",
    ] {
        check(CallFormat::Llama3, text, ("", text, &[]));
        check(CallFormat::Mistral, text, ("", text, &[]));
    }
}

#[test]
fn llamas_and_mistrals_answers_are_nothing_but_calls() {
    let call = "{\"name\": \"add\", \"parameters\": {\"a\": 1}}";
    let expected = ("", "", [("add", "{\"a\": 1}")].as_slice());
    check(CallFormat::Llama3, call, expected);
    check(
        CallFormat::Llama3,
        &format!("<|python_tag|>{call}"),
        expected,
    );
    check(
        CallFormat::Llama3,
        &format!("{call}; {call}"),
        ("", "", &[("add", "{\"a\": 1}"), ("add", "{\"a\": 1}")]),
    );
    let list = "[{\"name\": \"add\", \"arguments\": \"{\\\"a\\\": 1}\"}]";
    check(CallFormat::Mistral, list, expected);
    check(
        CallFormat::Mistral,
        &format!("[TOOL_CALLS] {list}"),
        expected,
    );
    let id = CallFormat::Mistral.new_id();
    assert!(
        id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric()),
        "{id}"
    );
}

#[test]
fn what_a_call_has_behind_its_arguments_is_passed_over() {
    let call =
        "{\"name\": \"add\", \"arguments\": {\"a\": 1}, \"id\": \"x}<\", \"of\": {\"b\": [2]}}";
    let expected = (
        "",
        "",
        [("add", "{\"a\": 1}"), ("add", "{\"a\": 1}")].as_slice(),
    );
    for (format, text) in [
        (
            CallFormat::Hermes,
            format!("<tool_call>{call}</tool_call>\n<tool_call>{call}</tool_call>"),
        ),
        (CallFormat::Llama3, format!("{call}; {call}")),
        (
            CallFormat::Mistral,
            format!("[TOOL_CALLS] [{call}, {call}]"),
        ),
    ] {
        check(format, &text, expected);
    }
}

#[test]
fn thoughts_come_before_the_answer() {
    for format in [CallFormat::Hermes, CallFormat::Llama3, CallFormat::Mistral] {
        check(
            format,
            "<think>\nTwo.\n</think>\n\nIt is 2.",
            ("Two.\n", "It is 2.", &[]),
        );
        check(format, "\n<think>unended", ("unended", "", &[]));
        check(format, "I <think> so", ("", "I <think> so", &[]));
    }
    let begun = || Splitter::new().with_reasoning(true);
    let expected = ("so\n".to_owned(), "2".to_owned(), Vec::new());
    assert_eq!(split(begun(), "so\n</think>\n2", 2), expected);
    let call = "<think>a</think>\n<tool_call>{\"name\": \"add\"}</tool_call>";
    check(CallFormat::Hermes, call, ("a", "", &[("add", "{}")]));
}

#[test]
fn without_functions_and_thoughts_a_text_is_what_it_is() {
    let text = "<tool_call>{\"name\": \"add\"}</tool_call><think>";
    let expected = (String::new(), text.to_owned(), Vec::new());
    assert_eq!(split(Splitter::new(), text, 5), expected);
}

#[test]
fn one_call_is_all_where_no_more_are_wanted() {
    let texts = |call: &str| {
        [
            (
                CallFormat::Hermes,
                format!("<tool_call>{call}</tool_call>\n<tool_call>{call}</tool_call>"),
            ),
            (CallFormat::Llama3, format!("{call};{call}")),
            (CallFormat::Mistral, format!("[{call}, {call}]")),
        ]
    };
    let calls = [
        "{\"name\": \"add\"}",
        "{\"name\": \"add\", \"arguments\": {}}",
    ];
    for (format, text) in calls.into_iter().flat_map(texts) {
        let one = Splitter::new().with_calls(Callable {
            only_one: true,
            ..callable(format)
        });
        for one in [one.clone(), one.in_pieces()] {
            let expected = vec![("add".to_owned(), "{}".to_owned())];
            assert_eq!(
                split(one, &text, 3),
                (String::new(), String::new(), expected)
            );
        }
    }
}

#[test]
fn a_call_that_is_cut_is_told_as_far_as_it_has_come() {
    let one = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": \"x}";
    let whole = "<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n</tool_call>";
    let call = |arguments: &str| ("add".to_owned(), arguments.to_owned());
    let check = |format, text: &str, said: &str, calls: &[(String, String)]| {
        for length in [1, 4, 1000] {
            for splitter in [splitter(format), splitter(format).in_pieces()] {
                let found = split_to(splitter, text, length, true);
                let expected = (String::new(), said.to_owned(), calls.to_vec());
                assert_eq!(found, expected, "{length}: {text}");
            }
        }
    };
    let hermes = CallFormat::Hermes;
    check(hermes, one, "", &[call("{\"a\": \"x}")]);
    check(hermes, "<tool_call>\n{\"name\": \"ad", "", &[]);
    check(hermes, "So: <tool_ca", "So:", &[]);
    check(hermes, "a <", "a <", &[]);
    check(hermes, &format!("{whole}\n<tool_ca"), "", &[call("{}")]);
    check(
        hermes,
        &format!("{whole}\n<tool_call>\n{{"),
        "",
        &[call("{}")],
    );
    let told = format!("{whole}\n{one}");
    check(hermes, &told, "", &[call("{}"), call("{\"a\": \"x}")]);
    // A call of another function is text.
    let other = "<tool_call>\n{\"name\": \"sing\", \"arguments\": {";
    check(hermes, other, other, &[]);
    let llama = "{\"name\": \"add\", \"parameters\": {\"a\": 1}}; {\"name\": \"add\", \"parameters\": {\"a\"";
    let two = [call("{\"a\": 1}"), call("{\"a\"")];
    check(CallFormat::Llama3, llama, "", &two);
    let mistral = "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {\"a\": 1}}, {\"name\"";
    check(CallFormat::Mistral, mistral, "", &two[..1]);
    // A space at the end may be one of the arguments'.
    let space = "{\"name\": \"add\", \"parameters\": {\"a\": \"1 ";
    check(CallFormat::Llama3, space, "", &[call("{\"a\": \"1 ")]);
}

#[test]
fn what_is_written_wrongly_in_pieces_loses_no_text() {
    let add = |arguments: &str| ("add".to_owned(), arguments.to_owned());
    let call = "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}";
    for (text, said, calls) in [
        (
            "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1</tool_call> and so."
                .to_owned(),
            " and so.",
            vec![add("{\"a\": 1")],
        ),
        (format!("{call}\nDone."), "Done.", vec![add("{\"a\": 1}")]),
        (
            format!("{call}\n{call}</tool_call>So."),
            "So.",
            vec![add("{\"a\": 1}"), add("{\"a\": 1}")],
        ),
    ] {
        for length in [1, 3, 1000] {
            let found = split(splitter(CallFormat::Hermes).in_pieces(), &text, length);
            let expected = (String::new(), said.to_owned(), calls.clone());
            assert_eq!(found, expected, "{length}: {text}");
        }
    }
    let call = "{\"name\": \"add\", \"arguments\": {\"a\": 1}}";
    for (format, text) in [
        (CallFormat::Llama3, format!("{call}; so")),
        (CallFormat::Mistral, format!("[TOOL_CALLS][{call}; so")),
    ] {
        for length in [1, 3, 1000] {
            let found = split(splitter(format).in_pieces(), &text, length);
            let expected = (String::new(), "so".to_owned(), vec![add("{\"a\": 1}")]);
            assert_eq!(found, expected, "{length}: {text}");
        }
    }
}

#[test]
fn a_call_comes_as_it_is_written_where_that_is_wanted() {
    let mut splitter = splitter(CallFormat::Hermes).in_pieces();
    let told = splitter.feed("So: <tool_call>\n{\"name\": \"add\", \"arguments\": {\"a");
    let [
        Part::Content(said),
        Part::CallPiece(CallPiece::Begins { id, name }),
        Part::CallPiece(CallPiece::Arguments(first)),
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((&**said, &**name, &**first), ("So:", "add", "{\"a"));
    assert!(!id.is_empty() && splitter.has_called());
    let more = splitter.feed("\": \"}\\\"\"}}\n</tool_call>");
    let last = Part::CallPiece(CallPiece::Arguments("\": \"}\\\"\"}".to_owned()));
    assert_eq!(more, [last, Part::CallPiece(CallPiece::Ends)]);
    assert!(splitter.end(false).is_empty());
}

#[test]
fn calls_of_an_answer_that_is_nothing_else_come_as_they_are_written() {
    for (format, begins, between, ends) in [
        (CallFormat::Llama3, "{\"name\": ", "; ", ""),
        (CallFormat::Mistral, "[TOOL_CALLS] [{\"name\": ", ", ", "]"),
    ] {
        let mut splitter = splitter(format).in_pieces();
        assert!(splitter.feed(begins).is_empty());
        for text in [
            "\"add\", \"arguments\": {\"a",
            "{\"name\": \"weather\", \"arguments\": {\"a",
        ] {
            let told = splitter.feed(text);
            let [
                Part::CallPiece(CallPiece::Begins { .. }),
                Part::CallPiece(CallPiece::Arguments(first)),
            ] = &told[..]
            else {
                panic!("{told:?}")
            };
            assert_eq!(first, "{\"a");
            let last = Part::CallPiece(CallPiece::Arguments("\": 1}".to_owned()));
            let told = splitter.feed(&format!("\": 1}}}}{between}"));
            assert_eq!(told, [last, Part::CallPiece(CallPiece::Ends)]);
        }
        assert!(splitter.feed(ends).is_empty());
        assert!(splitter.end(false).is_empty());
    }
}

#[test]
fn thoughts_that_nothing_follows_are_all() {
    let expected = ("so".to_owned(), String::new(), Vec::new());
    let thinking = || Splitter::new().with_reasoning(false);
    assert_eq!(split(thinking(), "<think>so</think>\n\n", 4), expected);
    let text = "<think>so</think>";
    let calling = Splitter::new().with_calls(callable(CallFormat::Hermes));
    assert_eq!(
        split(calling, text, 4),
        (String::new(), text.to_owned(), Vec::new())
    );
}

#[test]
fn a_template_says_how_calls_are_written() {
    let format = CallFormat::of_template;
    assert_eq!(format("{{ '[TOOL_CALLS]' }}"), CallFormat::Mistral);
    assert_eq!(format("{{- '<|python_tag|>' }}"), CallFormat::Llama3);
    assert_eq!(format("<tool_call>"), CallFormat::Hermes);
    assert_eq!(format(""), CallFormat::Hermes);
}
