//! `audithog completions`.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::{
    Cli,
    failure::Failure,
    output::{Output, written},
    query,
};

const AFTER_LONG_HELP: &str = "\
Put the output where your shell looks for it:
  bash  audithog completions bash > ~/.local/share/bash-completion/completions/audithog
  zsh   audithog completions zsh > DIR/_audithog, with DIR in $fpath before compinit runs
  fish  audithog completions fish > ~/.config/fish/completions/audithog.fish

Exit codes:
  0  Printed
  2  A wrong argument";

/// Print a script that completes audithog's commands, options and questions
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_LONG_HELP, after_help = "See --help for where to put it.")]
pub(crate) struct Args {
    /// For this shell
    #[arg(value_enum)]
    shell: Supported,
}

/// The shells whose scripts are tested.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Supported {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let shell = match args.shell {
        Supported::Bash => Shell::Bash,
        Supported::Zsh => Shell::Zsh,
        Supported::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "audithog", &mut script);
    let mut output = Output::standard();
    let script = String::from_utf8_lossy(&script);
    output.line(script.trim_end()).map_err(written)?;
    if let Supported::Fish = args.shell {
        // The generator leaves positional arguments out.
        for (name, about) in query::questions() {
            let line = format!(
                "complete -c audithog -n \"__fish_audithog_using_subcommand query\" -f -a {name} -d '{about}'"
            );
            output.line(&line).map_err(written)?;
        }
    }
    output.end()
}
