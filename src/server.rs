//! The server a command is about: which one, and by what token.
//!
//! In:      a data folder, or an address and a token.
//! Out:     where the server is, and the settings of its folder where that was named.
//! Promise: every command that needs a server finds it in the same way, and says the same where none runs.

use std::path::PathBuf;

use crate::cli::UserError;
use crate::http;
use crate::ops;
use crate::settings::{Settings, SettingsError};

#[derive(clap::Args)]
pub(crate) struct ServerArgs {
    /// Data folder to ask
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data: Option<PathBuf>,
    /// Server to ask instead
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Token for that server
    #[arg(long, value_name = "TOKEN", env = "TRIBUTARY_SQL_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Send the token in clear to another machine
    #[arg(long, requires = "url")]
    pub(crate) insecure_http: bool,
}

impl ServerArgs {
    /// The address of the server that was named, or that runs on the folder; then also the folder's settings.
    pub(crate) async fn find(
        &self,
        load: impl FnOnce(Option<PathBuf>) -> Result<Settings, SettingsError>,
    ) -> anyhow::Result<(String, Option<Settings>)> {
        if let Some(url) = &self.url {
            return Ok((http::address(url)?, None));
        }
        let settings = load(self.data.clone())?;
        let url = ops::running(&settings).await.ok_or_else(|| {
            UserError(format!(
                "no server runs on {}; start one with `tributary serve`, or name one with --url and --token",
                settings.serve.data_dir.display()
            ))
        })?;
        Ok((url, Some(settings)))
    }
}
