use super::*;

/// What the help of a flag says.
fn help_of(command: &str, flag: &str) -> String {
    let cli = Cli::command_with_defaults();
    let command = cli.find_subcommand(command).unwrap();
    let found = command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(flag));
    found.unwrap().get_help().unwrap().to_string()
}

#[test]
fn every_flag_of_serve_says_its_default() {
    let cli = Cli::command_with_defaults();
    let serve = cli.find_subcommand("serve").unwrap();
    for flag in serve.get_arguments().filter_map(|arg| arg.get_long()) {
        let help = help_of("serve", flag);
        // The file of the configuration is the one flag that is over no key of it.
        assert_eq!(
            help.contains("[default: "),
            flag != "config",
            "--{flag}: {help}"
        );
    }
    assert!(help_of("serve", "listen").ends_with("[default: 127.0.0.1:50050]"));
    assert!(help_of("serve", "drain-deadline").ends_with("[default: 30s]"));
    assert!(help_of("serve", "insecure").ends_with("[default: false]"));
    assert!(help_of("serve", "model").ends_with("[default: none]"));
}

#[test]
fn commands_on_a_terminal_say_their_own_defaults() {
    assert!(help_of("serve", "log-level").ends_with("[default: info]"));
    assert!(help_of("chat", "log-level").ends_with("[default: warn]"));
    assert!(help_of("plan", "max-context").ends_with("[default: 2048]"));
}

#[test]
fn contexts_are_written_as_people_write_them() {
    use clap::Parser as _;
    let parsed = |context| Cli::try_parse_from(["edge-agent", "serve", "--context", context]);
    let Command::Serve(args) = parsed("4k").unwrap().command else {
        panic!("another command");
    };
    assert_eq!(args.context, Some(4096));
    let refused = parsed("4q").unwrap_err().to_string();
    assert!(refused.contains("write 4096 or 4k"), "{refused}");
}

#[test]
fn a_chat_has_an_edge_of_its_own_or_a_running_one() {
    let parsed = |arguments: &[&str]| {
        let arguments = ["edge-agent", "chat"].iter().chain(arguments);
        let matches = Cli::command_with_defaults().try_get_matches_from(arguments);
        matches.map(drop).map_err(|error| error.to_string())
    };
    let edge = ["--edge", "http://127.0.0.1:50050"];
    assert_eq!(parsed(&edge), Ok(()));
    assert_eq!(parsed(&["--model", "m", "--split", "3"]), Ok(()));
    for own in ["--model=m", "--split=3", "--threads=1", "--log-level=debug"] {
        let refused = parsed(&[edge[0], edge[1], own]).unwrap_err();
        let (flag, _) = own.split_once('=').unwrap();
        let said = format!("'--edge <URL>' cannot be used with '{flag} <");
        assert!(refused.contains(&said), "{refused}");
    }
    for reaches in ["--ca=ca.pem", "--token-file=token", "--server-name=edge"] {
        let refused = parsed(&["--model", "m", reaches]).unwrap_err();
        assert!(refused.contains("cannot be used with '--"), "{refused}");
        let refused = parsed(&[reaches]).unwrap_err();
        assert!(
            refused.contains("not provided:\n  --edge <URL>"),
            "{refused}"
        );
        assert_eq!(parsed(&[edge[0], edge[1], reaches]), Ok(()));
    }
}

#[test]
fn a_question_goes_to_the_edge_of_this_machine_unless_told_otherwise() {
    let matches = Cli::command_with_defaults().get_matches_from(["edge-agent", "ask", "hi"]);
    let Command::Ask(args) = Cli::from_arg_matches(&matches).unwrap().command else {
        panic!("another command");
    };
    assert_eq!(args.running.edge.as_deref(), Some(EDGE));
    assert_eq!(RunningEdgeArgs::default().address(), EDGE);
}

#[test]
fn the_command_line_holds_together() {
    Cli::command_with_defaults().debug_assert();
}
