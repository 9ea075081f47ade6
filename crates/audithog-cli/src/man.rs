//! `audithog man`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use crate::{
    Cli,
    failure::Failure,
    output::{Output, written},
};

const AFTER_LONG_HELP: &str = "\
Examples:
  audithog man | man -l -                       Read the page of audithog
  audithog man /usr/local/share/man/man1        A page for each command: audithog.1, audithog-query.1, …

Exit codes:
  0  Done
  1  A page cannot be written
  2  A wrong argument";

/// Print the manual page, or write a page for each command into a directory
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_LONG_HELP, after_help = "See --help for examples and exit codes.")]
pub(crate) struct Args {
    /// The directory, which must be there; pages in it are replaced
    directory: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    let Some(directory) = &args.directory else {
        let page = page(&command).map_err(written)?;
        let mut output = Output::standard();
        output.line(page.trim_end()).map_err(written)?;
        return output.end();
    };
    write(directory, &command)
}

fn page(command: &Command) -> io::Result<String> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// The command's page, and those of the commands below it.
fn write(directory: &Path, command: &Command) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let path = directory.join(format!("{name}.1"));
    page(command)
        .and_then(|page| fs::write(&path, page))
        .map_err(|error| {
            Failure::new(1, format!("{} cannot be written: {error}", path.display()))
        })?;
    let below = command.get_subcommands();
    below
        .filter(|command| command.get_name() != "help")
        .try_for_each(|command| write(directory, command))
}
