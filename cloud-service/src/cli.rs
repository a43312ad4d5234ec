//! The command line. Every flag overrides the key of the configuration it is named after.

use crate::config::{CloudConfig, DEFAULTS};
use clap::{
    Args, Command as ClapCommand, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
};
use std::path::PathBuf;
use tandem_config::{
    AutoCount, AutoDuration, ByteSize, ConfigError, HumanDuration, Layers, parse_token_count,
    with_defaults,
};
use tandem_prepare::PrepareArgs;
use tandem_server::arguments::ServerArgs;

/// The cloud half of Tandem: back layers and sampling.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve edges until SIGTERM.
    Serve(Box<ServeArgs>),
    /// Pack the back of a model: its layers and head in the types they run in, and all that a cloud
    /// needs besides.
    Prepare(CloudPrepareArgs),
    /// Exit 0 when a cloud-service serves.
    Health(HealthArgs),
    /// Print every setting with its default.
    Config,
}

/// Flags of `serve`.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// A configuration file; see `cloud-service config`.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The model: a Hugging Face directory, or a package that `prepare` made.
    #[arg(long)]
    pub model: Option<PathBuf>,
    /// Who does the arithmetic: auto, plain (Tandem's own loops) or torch (libtorch, which bf16 and CUDA
    /// take).
    #[arg(long)]
    pub backend: Option<String>,
    /// cpu, cuda or cuda:N.
    #[arg(long)]
    pub device: Option<String>,
    /// Types of the weights: auto (a package's, or f32), f32, bf16, int8 or int4 (int4:32, int4:64,
    /// int4:128 by group), with exceptions for layers and the head: int4,20-29=int8,head=f32.
    #[arg(long)]
    pub weights: Option<String>,
    /// Type of keys and values: auto (f32 with weights in f32, bf16 otherwise), f32, bf16, int8 or int4.
    #[arg(long)]
    pub kv: Option<String>,
    /// Threads that compute; 0 for the processors there are.
    #[arg(long)]
    pub threads: Option<usize>,
    /// The lowest split served.
    #[arg(long)]
    pub first_layer: Option<AutoCount>,
    /// Sessions open at once.
    #[arg(long)]
    pub max_sessions: Option<usize>,
    /// The most tokens of one session, such as 4k (k is 1024); 0 for the model's, at most 8192.
    #[arg(long, value_parser = parse_token_count::<usize>)]
    pub context: Option<usize>,
    /// Memory for keys and values, such as 4GiB.
    #[arg(long)]
    pub kv_memory: Option<ByteSize>,
    /// How long an idle session is kept, such as 5m.
    #[arg(long)]
    pub idle_ttl: Option<HumanDuration>,
    /// How much longer a step may take for the rows of prompts and of drafts in it, such as 20ms, or auto.
    #[arg(long)]
    pub engine_step: Option<AutoDuration>,
    /// Silence after which an answer may give way to another session, such as 30s.
    #[arg(long)]
    pub stall: Option<HumanDuration>,
    /// What every server has.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Flags of `prepare`.
#[derive(Debug, Args)]
pub struct CloudPrepareArgs {
    /// The first layer to pack: the lowest split that the cloud can serve. With 0 the package has the
    /// embedding too.
    #[arg(long, value_name = "L")]
    pub first_layer: usize,
    /// The rest.
    #[command(flatten)]
    pub prepare: PrepareArgs,
}

/// Flags of `health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// The metrics address of the server.
    #[arg(long, default_value = "127.0.0.1:9501")]
    pub address: String,
    /// How long to wait for an answer.
    #[arg(long, default_value = "2s")]
    pub timeout: HumanDuration,
}

impl Cli {
    /// Reads the command line; ends the process where it cannot be, or asks for help.
    pub fn read() -> Self {
        let matches = Self::command_with_defaults().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// The command line with each setting's default in its flag's help.
    pub fn command_with_defaults() -> ClapCommand {
        let serve = ServeArgs::default().flags_over(Layers::new(DEFAULTS));
        Self::command().mut_subcommand("serve", |command| with_defaults(command, &serve))
    }
}

impl ServeArgs {
    /// The configuration: defaults, then the file, then the flags.
    ///
    /// # Errors
    /// When a file or a value cannot be.
    pub fn load(self) -> Result<CloudConfig, ConfigError> {
        let mut layers = Layers::new(DEFAULTS);
        if let Some(file) = &self.config {
            layers = layers.file(file)?;
        }
        self.flags_over(layers).build()
    }

    /// The flags alone over other layers.
    fn flags_over(self, layers: Layers) -> Layers {
        self.server
            .flags_over(layers)
            .flag("--model", "model", self.model)
            .flag("--backend", "backend", self.backend)
            .flag("--device", "device", self.device)
            .flag("--weights", "weights", self.weights)
            .flag("--kv", "kv", self.kv)
            .flag("--threads", "threads", self.threads)
            .flag("--first-layer", "first_layer", self.first_layer)
            .flag("--max-sessions", "sessions.max", self.max_sessions)
            .flag("--context", "sessions.context", self.context)
            .flag("--kv-memory", "sessions.kv_memory", self.kv_memory)
            .flag("--idle-ttl", "sessions.idle_ttl", self.idle_ttl)
            .flag("--stall", "sessions.stall", self.stall)
            .flag("--engine-step", "engine.step", self.engine_step)
    }
}

#[cfg(test)]
mod tests {
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
        assert!(help_of("serve", "listen").ends_with("[default: 127.0.0.1:50051]"));
        assert!(help_of("serve", "drain-deadline").ends_with("[default: 30s]"));
        assert!(help_of("serve", "insecure").ends_with("[default: false]"));
        assert!(help_of("serve", "model").ends_with("[default: none]"));
    }

    #[test]
    fn contexts_are_written_as_people_write_them() {
        use clap::Parser as _;
        let parsed =
            |context| Cli::try_parse_from(["cloud-service", "serve", "--context", context]);
        let Command::Serve(args) = parsed("4k").unwrap().command else {
            panic!("another command");
        };
        assert_eq!(args.context, Some(4096));
        let refused = parsed("4q").unwrap_err().to_string();
        assert!(refused.contains("write 4096 or 4k"), "{refused}");
    }
}
