//! May this user speak? `/chatrooms/{chatroom_id}/speak`: what a message gateway asks before it lets a message through.

use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;

use super::call::Call;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::reply::Reply;
use super::{idempotent_resource, resource};
use crate::error::Error;
use crate::names::unix_ms;
use crate::rooms::read::speech::{self, Layer, Verdict};

/// The most users in one question.
const MAX_BATCH: usize = 100;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(idempotent_resource("/chatrooms/{chatroom_id}/users/{usernames}/speak").route(web::get().to(check_one)))
        .service(resource("/chatrooms/{chatroom_id}/speak").route(web::post().to(check_several)));
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/chatrooms/{chatroom_id}/users/{usernames}/speak", "checkSpeech", "Say whether a user may speak")
            .says("As a message gateway asks before it lets a message through.")
            .answers::<Speech>()
            .fails(&[fails::INVALID_PARAMETER]),
        operation::post("/chatrooms/{chatroom_id}/speak", "checkSpeechOfSeveral", "Say who of several users may speak")
            .reads()
            .with(&["operator", "reason"])
            .takes("usernames", form::texts("At most 100, registered or not."))
            .answers::<Vec<Speech>>()
            .fails(&[fails::INVALID_PARAMETER, fails::TOO_MANY_NAMES]),
    ]
}

/// `layer` is the rule that decides; `until` the end of the mute or the block, in Unix milliseconds, if that decides, and
/// `reason` why it was laid on, if its actor has said.
#[derive(Serialize, JsonSchema)]
struct Speech {
    user: String,
    allowed: bool,
    #[schemars(extend("enum" = ["blocked", "not_member", "owner", "global_muted", "muted", "admin", "whitelist", "room_muted", "member"]))]
    layer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<Verdict> for Speech {
    fn from(verdict: Verdict) -> Self {
        let layer = match verdict.layer {
            Layer::Blocked => "blocked",
            Layer::NotMember => "not_member",
            Layer::Owner => "owner",
            Layer::GlobalMuted => "global_muted",
            Layer::Muted => "muted",
            Layer::Admin => "admin",
            Layer::Whitelist => "whitelist",
            Layer::RoomMuted => "room_muted",
            Layer::Member => "member",
        };
        let (allowed, until) = (verdict.layer.allows(), verdict.until.map(unix_ms));
        Self { user: verdict.username, allowed, layer, until, reason: verdict.reason }
    }
}

async fn check_one(call: Call) -> Result<Reply<Option<Speech>>, Error> {
    call.params().only(&[])?;
    let user = call.single_user()?;
    let verdict = speech::check(&call.state.db, &call.room()?, &user).await?.into_iter().next();
    Ok(call.reply(verdict.map(Speech::from)))
}

async fn check_several(call: Call) -> Result<Reply<Vec<Speech>>, Error> {
    call.params().only(&[])?;
    let usernames = call.body()?.texts("usernames")?;
    let names = call.batch_up_to(MAX_BATCH, usernames, "usernames size is more than max limit").await?;
    let verdicts = speech::check(&call.state.db, &call.room()?, &names).await?;
    Ok(call.reply(verdicts.into_iter().map(Speech::from).collect()))
}
