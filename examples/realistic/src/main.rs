//! Runs the service; settings come from the environment.

use std::{env, error::Error};

use audithog_realistic::{AppState, Config, app, serve};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .init();

    let log = audithog::Logger::from_env()?;
    let config = Config {
        log: log.clone(),
        jwt_secret: setting("JWT_SECRET")?,
        web_origin: setting("WEB_ORIGIN")?.parse()?,
    };
    let listener = TcpListener::bind(setting("LISTEN")?).await?;
    tracing::info!(address = %listener.local_addr()?, "listening");

    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    serve(listener, app(AppState::new(config)), shutdown).await?;
    tracing::info!("stopped: {}", log.shutdown(None).await);
    Ok(())
}

fn setting(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
