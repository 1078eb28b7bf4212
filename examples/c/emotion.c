/* SPDX-License-Identifier: MPL-2.0
 *
 * Runs a pipeline with mvpfusion in it and prints a line for each new result,
 * read from the metadata of the video buffers. No header of the plugin is needed.
 *
 *   cc -Wall -Wextra -Werror -o emotion emotion.c \
 *     $(pkg-config --cflags --libs gstreamer-1.0)
 *   GST_PLUGIN_PATH=target/release ./emotion videotestsrc ! mvpfusion model=models/default ! fakesink
 *
 * Without arguments: camera, EDA and ECG from the network, a window.
 */
#include <gst/gst.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_PIPELINE                                                     \
  "v4l2src ! videoconvert ! facetrack ! fusion. "                            \
  "lslsrc stream-type=EDA ! fusion.eda   lslsrc stream-type=ECG ! fusion.ecg " \
  "mvpfusion name=fusion model=models/default ! emotionoverlay ! "           \
  "videoconvert ! autovideosink"

typedef struct {
  GstElement *pipeline;
  GMainLoop *loop;
  gboolean asked_to_end;
  gboolean failed;
  /* Used by the streaming thread alone. */
  gboolean seen;
  guint64 sequence;
} App;

static gboolean
print_coverage (GQuark field, const GValue *value, gpointer unused)
{
  const gchar *name = g_quark_to_string (field);

  (void) unused;
  if (g_str_has_prefix (name, "coverage-") && G_VALUE_HOLDS_DOUBLE (value))
    printf (" %s %.3f", name + strlen ("coverage-"), g_value_get_double (value));
  return TRUE;
}

static void
print_result (const GstStructure *s, guint64 sequence)
{
  gdouble valence = 0, arousal = 0, confidence = 0;
  guint64 window_end = 0;
  gboolean warming_up = FALSE, stale = FALSE;
  const gchar *label = gst_structure_get_string (s, "label");

  gst_structure_get_double (s, "valence", &valence);
  gst_structure_get_double (s, "arousal", &arousal);
  gst_structure_get_double (s, "confidence", &confidence);
  gst_structure_get_uint64 (s, "window-end", &window_end);
  gst_structure_get_boolean (s, "warming-up", &warming_up);
  gst_structure_get_boolean (s, "stale", &stale);
  printf ("#%" G_GUINT64_FORMAT " at %.3f s: %s, valence %.3f, arousal %.3f, "
      "confidence %.3f, coverage", sequence, window_end / 1e9,
      label ? label : "?", valence, arousal, confidence);
  gst_structure_foreach (s, print_coverage, NULL);
  printf ("%s%s\n", warming_up ? ", warming up" : "", stale ? ", stale" : "");
  fflush (stdout);
}

static GstPadProbeReturn
on_frame (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  App *app = data;
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, "GstEmotionMeta");
  guint64 sequence;

  (void) pad;
  if (meta != NULL) {
    GstStructure *s = gst_custom_meta_get_structure (meta);

    if (gst_structure_get_uint64 (s, "sequence", &sequence)
        && (!app->seen || app->sequence != sequence)) {
      app->seen = TRUE;
      app->sequence = sequence;
      print_result (s, sequence);
    }
  }
  return GST_PAD_PROBE_OK;
}

/* The fusion's video output: every frame there carries the newest result. */
static GstPad *
find_video_pad (GstElement *pipeline)
{
  GstIterator *it = gst_bin_iterate_recurse (GST_BIN (pipeline));
  GValue item = G_VALUE_INIT;
  GstPad *pad = NULL;

  while (pad == NULL && gst_iterator_next (it, &item) == GST_ITERATOR_OK) {
    GstElement *element = g_value_get_object (&item);
    GstElementFactory *factory = gst_element_get_factory (element);

    if (factory != NULL && g_str_equal (GST_OBJECT_NAME (factory), "mvpfusion"))
      pad = gst_element_get_static_pad (element, "src");
    g_value_unset (&item);
  }
  gst_iterator_free (it);
  return pad;
}

static void
print_problem (const char *kind, GstMessage *message, GError *error, gchar *debug)
{
  gchar *path = GST_MESSAGE_SRC (message) ?
      gst_object_get_path_string (GST_MESSAGE_SRC (message)) : g_strdup ("?");

  fprintf (stderr, "%s from %s: %s\n  %s\n", kind, path, error->message,
      debug ? debug : "no details");
  g_free (path);
  g_error_free (error);
  g_free (debug);
}

static void
print_error (GstMessage *message)
{
  GError *error = NULL;
  gchar *debug = NULL;

  gst_message_parse_error (message, &error, &debug);
  print_problem ("error", message, error, debug);
}

static gboolean
on_message (GstBus *bus, GstMessage *message, gpointer data)
{
  App *app = data;
  GError *error = NULL;
  gchar *debug = NULL, *code = NULL, *text = NULL;

  (void) bus;
  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_ERROR:
      print_error (message);
      app->failed = TRUE;
      g_main_loop_quit (app->loop);
      break;
    case GST_MESSAGE_WARNING:
      gst_message_parse_warning (message, &error, &debug);
      print_problem ("warning", message, error, debug);
      break;
    case GST_MESSAGE_PROGRESS:
      gst_message_parse_progress (message, NULL, &code, &text);
      fprintf (stderr, "%s: %s\n", code, text);
      g_free (code);
      g_free (text);
      break;
    case GST_MESSAGE_EOS:
      g_main_loop_quit (app->loop);
      break;
    default:
      break;
  }
  return G_SOURCE_CONTINUE;
}

/* Ctrl-C ends the stream in order, a second one at once. */
static gboolean
on_interrupt (gpointer data)
{
  App *app = data;

  if (app->asked_to_end) {
    g_main_loop_quit (app->loop);
  } else {
    app->asked_to_end = TRUE;
    fprintf (stderr, "ending; press Ctrl-C again to stop at once\n");
    gst_element_send_event (app->pipeline, gst_event_new_eos ());
  }
  return G_SOURCE_CONTINUE;
}

int
main (int argc, char **argv)
{
  App app = { 0 };
  GError *error = NULL;
  gchar *description;
  GstPad *pad;
  GstBus *bus;

  gst_init (&argc, &argv);
  description = argc > 1 ? g_strjoinv (" ", argv + 1) : g_strdup (DEFAULT_PIPELINE);
  app.pipeline = gst_parse_launch_full (description, NULL,
      GST_PARSE_FLAG_FATAL_ERRORS, &error);
  g_free (description);
  if (app.pipeline == NULL) {
    fprintf (stderr, "error: cannot build the pipeline: %s\n", error->message);
    g_error_free (error);
    return 1;
  }
  if (!GST_IS_PIPELINE (app.pipeline)) {
    fprintf (stderr, "error: the description is a single element; "
        "expected a pipeline with mvpfusion\n");
    gst_object_unref (app.pipeline);
    return 1;
  }
  pad = find_video_pad (app.pipeline);
  if (pad == NULL) {
    fprintf (stderr, "error: the pipeline has no mvpfusion element\n");
    gst_object_unref (app.pipeline);
    return 1;
  }
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_frame, &app, NULL);
  gst_object_unref (pad);

  app.loop = g_main_loop_new (NULL, FALSE);
  bus = gst_element_get_bus (app.pipeline);
  g_unix_signal_add (SIGINT, on_interrupt, &app);

  if (gst_element_set_state (app.pipeline, GST_STATE_PLAYING) ==
      GST_STATE_CHANGE_FAILURE) {
    GstMessage *message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);

    app.failed = TRUE;
    if (message != NULL) {
      print_error (message);
      gst_message_unref (message);
    } else {
      fprintf (stderr, "error: the pipeline cannot start\n");
    }
  } else {
    gst_bus_add_watch (bus, on_message, &app);
    g_main_loop_run (app.loop);
    gst_bus_remove_watch (bus);
  }

  gst_element_set_state (app.pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (app.pipeline);
  g_main_loop_unref (app.loop);
  return app.failed ? 1 : 0;
}
