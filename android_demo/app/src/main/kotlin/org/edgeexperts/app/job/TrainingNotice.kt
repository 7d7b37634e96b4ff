package org.edgeexperts.app.job

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.PendingIntent
import android.content.Context
import android.content.Intent
import android.graphics.drawable.Icon
import org.edgeexperts.app.MainActivity
import org.edgeexperts.app.R
import org.edgeexperts.app.host.AppState
import org.edgeexperts.app.ui.trainingPhase
import org.edgeexperts.core.Doing

/** The notification while a job trains: what it does, how far it is, and a way to stop it. */
class TrainingNotice(private val context: Context) {
    private val manager = context.getSystemService(NotificationManager::class.java)

    init {
        val channel = NotificationChannel(
            CHANNEL, context.getString(R.string.channel_name), NotificationManager.IMPORTANCE_LOW,
        )
        channel.description = context.getString(R.string.channel_text)
        manager.createNotificationChannel(channel)
    }

    /** Returns what to show of [state]; no text of the user's. */
    fun of(state: AppState): Notification {
        val device = state.device
        val training = device.doing == Doing.TRAINING && device.steps > 0
        val text = if (training) context.getString(R.string.training_running_text, device.step, device.steps)
        else trainingPhase(state).text.firstOrNull()?.let(context::getString).orEmpty()
        val title = if (training || state.enrolment == null) R.string.notice_training else R.string.notice_federation
        return Notification.Builder(context, CHANNEL)
            .setSmallIcon(R.drawable.ic_training)
            .setColor(context.getColor(R.color.accent))
            .setContentTitle(context.getString(title))
            .setContentText(text)
            .setStyle(Notification.BigTextStyle().bigText(text))
            .setProgress(device.steps, device.step, !training)
            .setOngoing(true)
            .setOnlyAlertOnce(true)
            .setContentIntent(open())
            .addAction(stop())
            .build()
    }

    private fun open(): PendingIntent = PendingIntent.getActivity(
        context, 0, Intent(context, MainActivity::class.java).putExtra(MainActivity.TRAINING, true),
        PendingIntent.FLAG_IMMUTABLE or PendingIntent.FLAG_UPDATE_CURRENT,
    )

    private fun stop(): Notification.Action {
        val pressed = PendingIntent.getBroadcast(
            context, 0, Intent(context, StopReceiver::class.java), PendingIntent.FLAG_IMMUTABLE,
        )
        val icon = Icon.createWithResource(context, R.drawable.ic_refused)
        return Notification.Action.Builder(icon, context.getString(R.string.training_stop), pressed).build()
    }

    /** Shows it where a job cannot. */
    fun show(notification: Notification) = manager.notify(ID, notification)

    /** Takes it away. */
    fun cancel() = manager.cancel(ID)

    companion object {
        const val ID = 1
        private const val CHANNEL = "training"
    }
}
