//! `audithog man`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use roff::{Roff, roman};

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
    let mut command = without_help(Cli::command());
    command.build();
    let Some(directory) = &args.directory else {
        let page = page(&command).map_err(written)?;
        let mut output = Output::standard();
        output.line(page.trim_end()).map_err(written)?;
        return output.end();
    };
    write(directory, &command)
}

/// `help` has no page.
fn without_help(command: Command) -> Command {
    command
        .disable_help_subcommand(true)
        .mut_subcommands(without_help)
}

fn page(command: &Command) -> io::Result<String> {
    let mut page = Vec::new();
    let source = format!("audithog {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("audithog");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut page)?;
    }
    if command.get_subcommands().next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    let notes = command
        .get_after_long_help()
        .or_else(|| command.get_after_help());
    if let Some(notes) = notes {
        sections(&notes.to_string()).to_writer(&mut page)?;
    }
    Ok(portable(&String::from_utf8_lossy(&page)))
}

/// Old formatters read Latin-1: other characters by their number (groff_char(7)).
fn portable(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    for c in page.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            text.push_str(&format!("\\[u{:04X}]", u32::from(c)));
        }
    }
    text
}

/// What stands below the options of the help: a section for each list with a title, its lines as they are.
fn sections(notes: &str) -> Roff {
    let mut page = Roff::new();
    for part in notes.split("\n\n") {
        for (at, line) in part.lines().enumerate() {
            let title = line.strip_suffix(':').filter(|_| !line.starts_with(' '));
            if let Some(title) = title {
                page.control("fi", []);
                page.control("SH", [title.to_uppercase().as_str()]);
                page.control("nf", []);
            } else if line.starts_with(' ') {
                page.control("nf", []);
                page.text([roman(line.trim_start())]);
            } else {
                page.control("fi", []);
                if at == 0 {
                    page.control("PP", []);
                }
                page.text([roman(line)]);
            }
        }
    }
    page.control("fi", []);
    page
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
    command
        .get_subcommands()
        .try_for_each(|command| write(directory, command))
}
