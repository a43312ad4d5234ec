//! What `--help` says of defaults: they are read from the configuration that a binary ships, so that the
//! two cannot disagree.

use clap::Command;

use crate::layers::Layers;

/// The command, each of whose flags that lie over a key of `layers` says in its help what the key is
/// without it.
pub fn with_defaults(command: Command, layers: &Layers) -> Command {
    let defaults = layers.flag_defaults();
    command.mut_args(|arg| {
        let default = arg.get_long().and_then(|long| {
            let found = |(flag, _): &&(String, String)| flag.strip_prefix("--") == Some(long);
            defaults.iter().find(found).map(|(_, default)| default)
        });
        match (default, arg.get_help()) {
            (Some(default), Some(help)) => {
                let help = format!("{help} [default: {default}]");
                arg.help(help)
            }
            _ => arg,
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn help_says_what_the_configuration_does() {
        let layers =
            Layers::new("listen: 127.0.0.1:1\nlimits: {idle: 30s, name: \"\", on: false}\n")
                .flag("--listen", "listen", None::<String>)
                .flag("--idle", "limits.idle", None::<String>)
                .flag("--name", "limits.name", None::<String>)
                .flag("--on", "limits.on", None::<bool>);
        let flags = ["listen", "idle", "name", "on", "config"];
        let command = flags
            .into_iter()
            .fold(Command::new("serve"), |command, flag| {
                command.arg(Arg::new(flag).long(flag).help("Something."))
            });
        let command = with_defaults(command, &layers);
        let help = |flag: &str| {
            let arg = command.get_arguments().find(|arg| arg.get_id() == flag);
            arg.unwrap().get_help().unwrap().to_string()
        };
        assert_eq!(help("listen"), "Something. [default: 127.0.0.1:1]");
        assert_eq!(help("idle"), "Something. [default: 30s]");
        assert_eq!(help("name"), "Something. [default: none]");
        assert_eq!(help("on"), "Something. [default: false]");
        assert_eq!(help("config"), "Something.");
    }
}
