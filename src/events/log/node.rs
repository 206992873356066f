//! Writing events on the node of a cluster that has their room.

use uuid::Uuid;

use super::EventBatch;
use crate::db::Transaction;
use crate::error::Error;

impl EventBatch<'_> {
    /// For one room, whose row is there: each statement goes to the node of the room. Deliveries are numbered before: numbers
    /// come from the coordinator.
    pub(super) async fn write_on_node(&self, transaction: &mut Transaction) -> Result<(), Error> {
        let (Some(app), Some(chatroom)) = (self.apps.first(), self.chatrooms.first()) else { return Ok(()) };
        let columns = self.columns()?;
        sqlx::query!(
            "insert into events
                 (app, chatroom, n, kind, users, before, after, actor, reason, member_count, happened_at, xact, undoes)
             select room.app, room.chatroom, given.n, kind, string_to_array(users, ','), before::json, after::json, actor, reason,
                    given.member_count, happened_at, xact, undoes
             from room_counters room,
                  unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::integer[],
                         $11::timestamptz[], $12::bigint[], $13::bigint[])
                      given (n, kind, users, before, after, actor, reason, member_count, happened_at, xact, undoes)
             where room.app = $1 and room.chatroom = $2",
            app,
            chatroom,
            &columns.numbers,
            &columns.kinds as &[&str],
            &columns.users,
            &columns.before as &[Option<String>],
            &columns.after as &[Option<String>],
            &columns.actors as &[&str],
            &columns.reasons as &[Option<&str>],
            &columns.member_counts as &[Option<i32>],
            &self.moments,
            &self.xacts,
            &columns.undone as &[Option<i64>],
        )
        .execute(&mut **transaction)
        .await?;
        sqlx::query!(
            "insert into event_users (app, username, happened_at, chatroom, n)
             select app, username, happened_at, chatroom, n from events, unnest(users) username
             where app = $1 and chatroom = $2 and n = any($3::bigint[])",
            app,
            chatroom,
            &columns.numbers,
        )
        .execute(&mut **transaction)
        .await?;
        let asked = sqlx::query!(
            r#"select rules.id as rule, given.n as "n!", nextval('deliveries_id_seq') as "id!", gen_random_uuid() as "call_id!"
               from unnest($2::bigint[], $3::text[]) given (n, kind)
               join callback_rules rules on rules.app = $1 and rules.deleted_at is null
                   and rules.kinds && array['*', kind, split_part(kind, '/', 1)]
               order by given.n"#,
            app,
            &columns.numbers,
            &columns.kinds as &[&str],
        )
        .fetch_all(&mut **transaction)
        .await?;
        if asked.is_empty() {
            return Ok(());
        }
        let rules: Vec<Uuid> = asked.iter().map(|row| row.rule).collect();
        sqlx::query!(
            "insert into deliveries (app, chatroom, rule, n, id, call_id) overriding system value
             select room.app, room.chatroom, given.*
             from room_counters room, unnest($3::uuid[], $4::bigint[], $5::bigint[], $6::uuid[]) given
             where room.app = $1 and room.chatroom = $2",
            app,
            chatroom,
            &rules,
            &asked.iter().map(|row| row.n).collect::<Vec<_>>(),
            &asked.iter().map(|row| row.id).collect::<Vec<_>>(),
            &asked.iter().map(|row| row.call_id).collect::<Vec<_>>(),
        )
        .execute(&mut **transaction)
        .await?;
        sqlx::query!(
            "insert into callback_lines (rule, app, chatroom)
             select distinct rule, room.app, room.chatroom from room_counters room, unnest($3::uuid[]) rule
             where room.app = $1 and room.chatroom = $2 order by rule
             on conflict (rule, chatroom) do update set next_at = callback_lines.next_at",
            app,
            chatroom,
            &rules,
        )
        .execute(&mut **transaction)
        .await?;
        Ok(())
    }
}
