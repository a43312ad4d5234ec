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
