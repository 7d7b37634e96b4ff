package org.edgeexperts.background

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.PendingIntent
import android.content.Context
import android.content.Intent
import android.graphics.drawable.Icon

/** The notification while a job trains: what it does, how far it is, and a way to stop it. */
public class TrainingNotice(private val context: Context, private val style: NoticeStyle) {
    private val manager = context.getSystemService(NotificationManager::class.java)

    init {
        val channel = NotificationChannel(CHANNEL, style.channelName, NotificationManager.IMPORTANCE_LOW)
        channel.description = style.channelText
        manager.createNotificationChannel(channel)
    }

    /** Returns what to show of [notice]. */
    public fun of(notice: Notice): Notification = Notification.Builder(context, CHANNEL)
        .setSmallIcon(style.icon)
        .setColor(style.color)
        .setContentTitle(notice.title)
        .setContentText(notice.text)
        .setStyle(Notification.BigTextStyle().bigText(notice.text))
        .setProgress(notice.steps, notice.step, notice.steps == 0)
        .setOngoing(true)
        .setOnlyAlertOnce(true)
        .setContentIntent(open())
        .addAction(stop())
        .build()

    private fun open(): PendingIntent = PendingIntent.getActivity(
        context, 0, style.open, PendingIntent.FLAG_IMMUTABLE or PendingIntent.FLAG_UPDATE_CURRENT,
    )

    private fun stop(): Notification.Action {
        val pressed = PendingIntent.getBroadcast(
            context, 0, Intent(context, StopReceiver::class.java), PendingIntent.FLAG_IMMUTABLE,
        )
        return Notification.Action.Builder(Icon.createWithResource(context, style.stopIcon), style.stopText, pressed).build()
    }

    /** Shows it where a job cannot. */
    public fun show(notification: Notification): Unit = manager.notify(ID, notification)

    /** Takes it away. */
    public fun cancel(): Unit = manager.cancel(ID)

    public companion object {
        /** Of the notification. */
        public const val ID: Int = 1
        private const val CHANNEL = "training"
    }
}
