//! The server processes of a round: started, ended, and remembered.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::Value;

use crate::load::Target;
use crate::oracle::{End, Server};
use crate::process::Process;
use crate::time;

/// A start that takes longer has failed. On a slow disk it may take a while.
const START: Duration = Duration::from_secs(30);
/// Longer than the shutdown may take by its own limit.
const STOP: Duration = Duration::from_secs(20);

/// Where and how servers are started.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) directory: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) number: usize,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

/// All servers of a round. Those that could not start are not counted: they never served.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    /// By place: which of the servers at a time.
    pub(crate) live: Vec<Option<Live>>,
    pub(crate) ended: Vec<Option<Server>>,
}

impl Servers {
    /// Starts a server in this place.
    pub(crate) fn start(&mut self, place: usize, recipe: &Recipe) -> Result<()> {
        let number = self.ended.len();
        let log = recipe.directory.join(format!("server-{number}.log"));
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("server")
            .envs(recipe.environment.iter().cloned())
            .current_dir(&recipe.directory);
        let process = Process::start(&format!("server {number}"), command, &log)?;
        let address = process
            .hear("listening", START)
            .with_context(|| format!("see {}", log.display()))?
            .parse()?;
        self.ended.push(None);
        if self.live.len() <= place {
            self.live.resize_with(place + 1, || None);
        }
        self.live[place] = Some(Live {
            number,
            process,
            address,
        });
        Ok(())
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        self.live
            .iter()
            .flatten()
            .map(|live| Target {
                server: live.number,
                address: live.address,
            })
            .collect()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, place: usize) -> Result<()> {
        self.end(place, End::Killed)
    }

    /// SIGKILL, and what was not synced is taken away afterwards.
    pub(crate) fn lose_power(&mut self, place: usize) -> Result<()> {
        self.end(place, End::PowerLost)
    }

    fn end(&mut self, place: usize, end: End) -> Result<()> {
        if let Some(mut live) = self.live.get_mut(place).and_then(Option::take) {
            live.process.kill()?;
            self.note(&live, end);
        }
        Ok(())
    }

    /// SIGTERM, and waits for its last word.
    pub(crate) fn terminate(&mut self, place: usize) -> Result<()> {
        if let Some(mut live) = self.live.get_mut(place).and_then(Option::take) {
            live.process.signal(Signal::TERM)?;
            let end = match live.process.hear("stopped", STOP) {
                Ok(report) => {
                    let report: Value = serde_json::from_str(&report)?;
                    match live.process.wait(STOP)? {
                        Some(status) if status.success() => End::Stopped(Box::new(report)),
                        Some(status) => End::Broken(status.to_string()),
                        None => End::Stuck,
                    }
                }
                Err(_) => match live.process.wait(Duration::ZERO)? {
                    Some(status) => End::Broken(status.to_string()),
                    None => {
                        live.process.kill()?;
                        End::Stuck
                    }
                },
            };
            self.note(&live, end);
        }
        Ok(())
    }

    fn note(&mut self, live: &Live, end: End) {
        self.ended[live.number] = Some(Server {
            pid: live.process.id(),
            end,
            ended_at: time::now(),
        });
    }
}
