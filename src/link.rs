//! `tributary link`: the signed addresses that go into a message.
//!
//! In:      where the link goes, whom it is sent to, the secret of the server.
//! Out:     the addresses of the link, of the pixel and of the way out.
//! Promise: no server needs to run; what is signed here is what the door checks.

use std::path::PathBuf;

use tributary_ingest::ticket::{self, Ticket, TicketKind};
use tributary_schemas::{Clock as _, SystemClock};

use crate::cli::UserError;
use crate::settings::{Settings, SettingsError};

#[derive(clap::Args)]
pub(crate) struct LinkArgs {
    /// Where the link goes, http or https
    #[arg(long, value_name = "URL")]
    url: String,
    /// The server the addresses lead through
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// The secret to sign with; by default ingest.ticket_secret of the settings or the data folder
    #[arg(long, value_name = "TEXT", env = "TRIBUTARY_TICKET_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Data folder of the server, to find its secret
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The source opens and clicks are filed under
    #[arg(long, value_name = "NAME", default_value = "web")]
    source: String,
    /// Whom the message is sent to
    #[arg(long, value_name = "ID")]
    user_id: Option<String>,
    /// The device that person was last seen on
    #[arg(long, value_name = "ID")]
    anonymous_id: Option<String>,
    /// Which message it is
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// Which campaign it belongs to
    #[arg(long, value_name = "ID")]
    campaign_id: Option<String>,
    /// Which link of the message it is
    #[arg(long, value_name = "ID")]
    link_id: Option<String>,
    /// The channel it counts to; e-mail where absent
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// The experiment the message is part of, with --variant
    #[arg(long, value_name = "NAME", requires = "variant")]
    experiment: Option<String>,
    /// Which of its variants this message is
    #[arg(long, value_name = "NAME", requires = "experiment")]
    variant: Option<String>,
    /// The recorded decision that sent it
    #[arg(long, value_name = "ID")]
    decision_id: Option<String>,
    /// For how many days the addresses are good; for ever where absent
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,
}

pub(crate) fn command(
    args: LinkArgs,
    load: impl FnOnce(Option<PathBuf>) -> Result<Settings, SettingsError>,
) -> anyhow::Result<()> {
    let secret = match args.secret {
        Some(secret) => secret,
        None => load(args.data)?.ingest.ticket_secret,
    };
    if secret.is_empty() {
        let advice = "no ticket secret is known: give --secret, or --data DIR of a server that was started once";
        return Err(UserError(advice.to_owned()).into());
    }
    let now_ms = SystemClock.now_us() / 1_000;
    let expires_ms = args.days.map(|days| now_ms + i64::from(days) * 24 * 3_600_000);
    let of_message = |ticket: Ticket| Ticket {
        user_id: args.user_id.clone(),
        anonymous_id: args.anonymous_id.clone(),
        message_id: args.message_id.clone(),
        campaign_id: args.campaign_id.clone(),
        link_id: args.link_id.clone(),
        channel: args.channel.clone(),
        experiment: args.experiment.clone(),
        variant: args.variant.clone(),
        decision_id: args.decision_id.clone(),
        // A way out must not close.
        expires_ms: if ticket.kind == TicketKind::Unsubscribe { None } else { expires_ms },
        ..ticket
    };
    let sign = |ticket| ticket::sign(&of_message(ticket), &secret).map_err(|error| UserError(error.to_string()));
    let server = args.server.trim_end_matches('/');
    println!("link         {server}/r/{}", sign(Ticket::click(&args.source, &args.url))?);
    println!("pixel        {server}/p.gif?t={}", sign(Ticket::open(&args.source))?);
    println!("unsubscribe  {server}/u/{}", sign(Ticket::unsubscribe(&args.source))?);
    Ok(())
}
