//! `roomward moderator`: users who read or moderate the rooms of their app.

use std::process::ExitCode;

use clap::Subcommand;
use roomward::accounts::moderators::{self, Moderator, ModeratorRole};
use roomward::config::Settings;
use roomward::events::log::Actor;
use roomward::names::{Names, RoomKey};
use roomward::rooms::read;
use serde_json::{Value, json};

use super::Failure;
use super::apps::find;
use super::database::connect;

#[derive(Subcommand)]
pub enum ModeratorCommand {
    /// Make a user a moderator, or change what the user is as one.
    Add {
        /// The app, as ORG/APP.
        app: String,
        /// The user's name.
        user: String,
        /// `viewer` reads, `moderator` also acts.
        #[arg(long, default_value = "moderator")]
        role: String,
        /// Ids of the rooms, with commas between them. Without it: all rooms.
        #[arg(long, value_delimiter = ',')]
        rooms: Option<Vec<String>>,
    },
    /// List the moderators of an app.
    List {
        /// The app, as ORG/APP.
        app: String,
        /// Say it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a moderator a plain user again.
    Remove {
        /// The app, as ORG/APP.
        app: String,
        /// The user's name.
        user: String,
    },
}

pub async fn run(settings: &Settings, command: ModeratorCommand) -> Result<ExitCode, Failure> {
    let db = connect(settings).await?;
    match command {
        ModeratorCommand::Add { app, user, role, rooms } => {
            let app = find(&db, &app).await?;
            let role = ModeratorRole::parse(&role).ok_or("--role is viewer or moderator")?;
            if let Some(rooms) = &rooms {
                let parse = |room: &String| RoomKey::parse(app.id, room).ok_or_else(|| format!("there is no room {room}"));
                read::details::require_all(&db, app.id, &rooms.iter().map(parse).collect::<Result<Vec<_>, _>>()?).await?;
            }
            let (actor, name) = (Actor::operator(), Names::new([user]));
            print(&moderators::add(&db, app.id, &actor, &name, role, rooms.as_deref()).await?.commit().await?);
        }
        ModeratorCommand::List { app, json } => {
            let list = moderators::list(&db, find(&db, &app).await?.id).await?;
            if json {
                let shown = |one: &Moderator| json!({"username": one.username, "role": one.role.text(), "rooms": one.rooms, "added_by": one.added_by});
                println!("{}", list.iter().map(shown).collect::<Value>());
            } else {
                list.iter().for_each(print);
            }
        }
        ModeratorCommand::Remove { app, user } => {
            let app = find(&db, &app).await?;
            if !moderators::remove(&db, app.id, &Actor::operator(), &Names::new([&user])).await?.commit().await? {
                return Err(format!("{user} is no moderator").into());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(moderator: &Moderator) {
    let rooms = moderator.rooms.as_ref().map_or_else(|| "all rooms".to_owned(), |rooms| format!("rooms {}", rooms.join(",")));
    println!("{}  {}  {rooms}  added by {}", moderator.username, moderator.role.text(), moderator.added_by);
}
